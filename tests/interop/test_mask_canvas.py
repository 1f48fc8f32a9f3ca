"""The canvas of a notebook: its Python side, and what a person paints in a real browser."""

import base64
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.errors import ExtraError, ImageError

pytest.importorskip("anywidget", reason="the extra `notebook` is not installed")
CHROMIUM = shutil.which("chromium") or ""
WIDTH, HEIGHT = 300, 200
COLORS = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)

Point = tuple[float, float]

# The part of a notebook that a widget sees: a model with values, and an element
HARNESS = """
<!doctype html><meta charset="utf-8"><body style="margin:0"><div id="cell"></div>
<script type="module">
const state = @@STATE@@;
const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
for (const name of ["start", "bits"]) state[name] = bytes(state[name]);
const listeners = [];
window.saves = 0;
window.model = {
  get: (name) => state[name],
  set: (name, value) => {
    state[name] = value;
    listeners.filter((l) => l[0] === `change:${name}`).forEach((l) => l[1]());
  },
  save_changes: () => { window.saves += 1; },
  on: (event, act) => listeners.push([event, act]),
  off: (event, act) => listeners.splice(listeners.findIndex((l) => l[1] === act), 1),
};
window.result = () => ({
  steps: state.steps,
  bits: btoa(Array.from(new Uint8Array(state.bits.buffer), (b) => String.fromCharCode(b)).join("")),
});
const style = document.createElement("style");
style.textContent = @@CSS@@;
document.head.append(style);
const url = URL.createObjectURL(new Blob([@@ESM@@], { type: "text/javascript" }));
const { default: widget } = await import(url);
widget.render({ model: window.model, el: document.getElementById("cell") });
window.ready = true;
</script>
"""


def kinds() -> dict[str, Any]:
    image = Image.fromarray(COLORS)
    return {
        "pil": image,
        "uint8": COLORS,
        "uint16": COLORS.astype(np.uint16) * 257,
        "float": COLORS / 255,
        "gray": COLORS[..., 0],
        "tensor": torch.tensor(COLORS).movedim(-1, 0),
        "batch": torch.tensor(COLORS).movedim(-1, 0)[None].float() / 255,
    }


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_of_image_has_a_canvas(kind: str) -> None:
    canvas = diffprior.widget(kinds()[kind])
    assert canvas.mask.shape == (HEIGHT, WIDTH) and canvas.mask.dtype == bool
    assert not canvas.mask.any()
    data = base64.b64decode(canvas.picture.partition("base64,")[2])
    shown = np.asarray(Image.open(BytesIO(data)).convert("RGB"), float)
    assert shown.shape == (HEIGHT, WIDTH, 3)
    gray = kind == "gray"
    expected = np.repeat(COLORS[..., :1], 3, -1) if gray else COLORS
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.95  # noise is hard on JPEG


def test_a_path_is_opened_upright_and_a_large_image_is_shown_small(tmp_path: Path) -> None:
    image = Image.fromarray(COLORS).resize((2400, 1600))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    canvas = diffprior.widget(tmp_path / "a.jpg")
    assert canvas.mask.shape == (2400, 1600)
    assert len(canvas.picture) < 1_500_000
    data = base64.b64decode(canvas.picture.partition("base64,")[2])
    assert Image.open(BytesIO(data)).size == (683, 1024)


def test_a_mask_to_begin_with_comes_back(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[3:9, 7:61] = True
    assert (diffprior.widget(COLORS, mask).mask == mask).all()
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert (diffprior.widget(COLORS, tmp_path / "m.png").mask == mask).all()
    found = diffprior.masks.scratches(COLORS)
    assert (diffprior.widget(COLORS, found).mask == found).all()


def test_what_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no-such\.png: there is no such file|no-such"):
        diffprior.widget(tmp_path / "no-such.png")
    with pytest.raises(ImageError, match="the mask is 5x4 but the image is 300x200"):
        diffprior.widget(COLORS, np.zeros((4, 5), bool))
    with pytest.raises(ImageError, match="a list is no image"):
        diffprior.widget([1, 2])


def test_without_the_extra_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ExtraError, match=r"pip install 'diffprior\[notebook\]'"):
        diffprior.widget(COLORS)


# In a real browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no chromium")
    with sync.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Notebook:
    """A page that shows one canvas, and what it sends back."""

    def __init__(self, page: Any, canvas: Any) -> None:
        self.page = page
        self.canvas = canvas
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        state = {name: getattr(canvas, name) for name in ("picture", "width", "height", "steps")}
        for name in ("start", "bits"):
            state[name] = base64.b64encode(getattr(canvas, name)).decode()
        html = HARNESS.replace("@@STATE@@", json.dumps(state))
        html = html.replace("@@CSS@@", json.dumps(str(canvas._css)))
        html = html.replace("@@ESM@@", json.dumps(str(canvas._esm)).replace("</", "<\\/"))
        page.set_content(html)
        page.wait_for_function("window.ready === true")
        page.wait_for_function("document.querySelector('canvas').width > 300 - 1")
        self.box = page.locator("canvas").bounding_box()

    def stroke(self, *points: Point) -> list[Point]:
        """Draw through points of the image; return those where the mouse, with whole steps, was."""
        mouse = self.page.mouse
        across = self.box["width"] / self.canvas.width
        down = self.box["height"] / self.canvas.height
        left, top = self.box["x"], self.box["y"]
        places = [(round(left + x * across), round(top + y * down)) for x, y in points]
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place)
        mouse.up()
        return [((x - left) / across, (y - top) / down) for x, y in places]

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def size(self, value: int) -> float:
        """Set the size of the brush; return its radius in pixels of the image."""
        self.page.locator("input[type=range]").fill(str(value))
        most = max(2, max(self.canvas.width, self.canvas.height) / 4)
        return 0.5 * (most / 0.5) ** (value / 100)

    def mask(self) -> np.ndarray:
        """Return the mask in Python, after what was sent is received as a kernel receives it."""
        sent = self.page.evaluate("window.result()")
        bits = memoryview(base64.b64decode(sent["bits"]))
        self.canvas.set_state({"steps": sent["steps"], "bits": bits})
        assert not self.errors
        return self.canvas.mask


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Notebook]]:
    page = browser.new_page(viewport={"width": 900, "height": 900})
    yield lambda *given: Notebook(page, diffprior.widget(*given))
    page.close()


def capsule(a: Point, b: Point, radius: float, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Any:
    """Return the pixels whose centers are within a radius of a segment, by its definition."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = ((x - a[0]) * dx + (y - a[1]) * dy) / max(dx * dx + dy * dy, 1e-9)
    t = t.clip(0, 1)
    return np.hypot(x - a[0] - t * dx, y - a[1] - t * dy) <= radius


def test_strokes_in_a_browser_are_the_mask_in_python(show: Callable[..., Notebook]) -> None:
    notebook = show(Image.fromarray(COLORS))
    radius = notebook.size(60)
    painted = capsule(*notebook.stroke((50, 60), (200, 120)), radius)
    assert (notebook.mask() == painted).all() and painted.sum() > 500
    notebook.press("Eraser")
    thin = notebook.size(40)
    erased = capsule(*notebook.stroke((120, 20), (120, 180)), thin)
    assert (notebook.mask() == (painted & ~erased)).all()
    notebook.press("Undo")
    assert (notebook.mask() == painted).all()
    notebook.press("Redo")
    notebook.press("Invert")
    assert (notebook.mask() == ~(painted & ~erased)).all()
    notebook.page.locator("canvas").press("Control+z")
    assert (notebook.mask() == (painted & ~erased)).all()
    notebook.press("Clear")
    assert not notebook.mask().any()


def test_a_mask_of_a_large_image_has_its_own_size(show: Callable[..., Notebook]) -> None:
    """The image is shown at half its size, and the mask is exact all the same."""
    image = Image.fromarray(COLORS).resize((1800, 1200))
    notebook = show(image)
    assert notebook.page.evaluate("document.querySelector('canvas').width") == 1024
    radius = notebook.size(50)
    painted = capsule(*notebook.stroke((300, 200), (1400, 1100)), radius, (1200, 1800))
    assert (notebook.mask() != painted).sum() <= 4  # rounding, where the rim meets a center
    assert painted.sum() > 20_000


def test_a_draft_is_corrected_by_hand(show: Callable[..., Notebook]) -> None:
    draft = np.zeros((HEIGHT, WIDTH), bool)
    draft[40:80, 60:120] = True
    notebook = show(COLORS, draft)
    radius = notebook.size(60)
    notebook.press("Eraser")
    gone = capsule(*notebook.stroke((60, 60), (63, 60)), radius)
    assert (notebook.mask() == (draft & ~gone)).all()
    notebook.press("Clear")
    assert not notebook.mask().any()
    notebook.press("Undo")
    notebook.press("Undo")
    assert (notebook.mask() == draft).all()


def test_a_second_view_shows_what_was_painted(show: Callable[..., Notebook]) -> None:
    notebook = show(COLORS)
    notebook.stroke((50, 60), (200, 120))
    first = notebook.mask()
    again = Notebook(notebook.page, notebook.canvas)
    again.press("Invert")
    assert (again.mask() == ~first).all()
