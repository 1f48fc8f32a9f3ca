"""A notebook that is executed: what a person sees of the canvas, and of a result."""

import os

import numpy as np
import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra `dev` is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra `dev` is not installed")
pytest.importorskip("anywidget", reason="the extra `notebook` is not installed")

CELLS = (
    "import numpy as np, diffprior\n"
    "image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)\n"
    "canvas = diffprior.widget(image)\n"
    "canvas",
    # what the page of the notebook sends after a stroke
    "bits = np.zeros((40, 60), bool); bits[5:9, 7:20] = True\n"
    "canvas.set_state({'bits': memoryview(np.packbits(bits).tobytes())})\n"
    "result = diffprior.inpaint(image, canvas.mask, fill='smooth', steps=2)\n"
    "result",
    "print(((result.image != image).any(-1) & ~bits).sum(), canvas.mask.sum())",
)


def test_a_notebook_shows_the_canvas_and_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    canvas, result, numbers = (cell.outputs[-1] for cell in notebook.cells)
    view = canvas["data"]["application/vnd.jupyter.widget-view+json"]
    states = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    state = states[view["model_id"]]["state"]
    assert (state["width"], state["height"]) == (60, 40)
    assert "export default" in state["_esm"] and "\nimport " not in state["_esm"]
    assert set(result["data"]) == {"text/plain", "text/html", "image/png"}
    assert result["data"]["text/html"].count("<img") == 2
    assert "Result: inpaint" in result["data"]["text/plain"]
    assert numbers["text"].split() == ["0", str(np.prod([4, 13]))]
