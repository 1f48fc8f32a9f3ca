"""The plug-in of napari: its manifest by the real npe2, its widgets by the real magicgui."""

import importlib.util
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import diffprior
from diffprior.errors import DiffpriorError
from diffprior.interop import napari as plugin
from diffprior.interop.offered import offered, settings

ROOT = Path(__file__).parents[2]
SIDE = 32


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    image = Image.open(ROOT / "data" / "samples" / "dog.png").convert("RGB").resize((SIDE, SIDE))
    return np.array(image)


def layer(data: np.ndarray, name: str = "photo", **more: Any) -> Any:
    """An image layer, as a task reads it."""
    plain = {"rgb": data.ndim == 3, "scale": (1.0, 1.0), "translate": (0.0, 0.0)}
    return SimpleNamespace(data=data, name=name, multiscale=False, **plain | more)


def test_the_manifest_is_one_that_npe2_takes() -> None:
    npe2 = pytest.importorskip("npe2", reason="npe2 is not installed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, file = project["entry-points"]["napari.manifest"]["diffprior"].partition(":")
    folder = Path(importlib.util.find_spec(module).submodule_search_locations[0])
    manifest = npe2.PluginManifest.from_file(folder / file)
    manifest.validate_imports()
    assert manifest.name == project["name"]
    commands = [command.id for command in manifest.contributions.commands]
    assert [widget.command for widget in manifest.contributions.widgets] == commands
    assert commands == [f"diffprior.{name}" for name in offered()]


def test_a_layer_of_labels_is_a_mask(photo: np.ndarray) -> None:
    labels = np.zeros((SIDE, SIDE), np.int64)
    labels[20:30, 10:25] = 3
    form = offered()["inpaint"]
    place = {"scale": (2.0, 2.0), "translate": (5.0, 7.0)}
    mask = SimpleNamespace(data=labels, name="Labels", **place)
    ((data, about, kind),) = plugin.run_on_layers(
        form, layer(photo, **place), mask=mask, fill="smooth", steps="2", method="", samples="1"
    )
    expected = diffprior.inpaint(photo, labels > 0, fill="smooth", steps=2)
    assert kind == "image" and (data == expected.image).all()
    assert about["name"] == "photo inpainted" and about["rgb"] is True
    assert about["scale"] == (2.0, 2.0) and about["translate"] == (5.0, 7.0)
    assert about["metadata"]["report"]["task"] == "inpaint"


def test_shapes_are_a_mask(photo: np.ndarray) -> None:
    def to_labels(labels_shape: tuple[int, int]) -> np.ndarray:
        labels = np.zeros(labels_shape, np.int64)
        labels[5:9, 5:9] = 1
        return labels

    place = {"scale": (1.0, 1.0), "translate": (0.0, 0.0)}
    shapes = SimpleNamespace(to_labels=to_labels, name="Shapes", **place)
    ((data, _, _),) = plugin.run_on_layers(
        offered()["inpaint"], layer(photo), mask=shapes, fill="smooth", steps="2"
    )
    changed = (data != photo).any(-1)
    assert changed[5:9, 5:9].any() and not changed[9:].any() and not changed[:, 9:].any()


@pytest.mark.parametrize("place", [{"scale": (2.0, 2.0)}, {"translate": (3.0, 0.0)}])
def test_a_mask_at_another_place_is_refused(photo: np.ndarray, place: dict[str, Any]) -> None:
    mask = layer(np.ones((SIDE, SIDE), int), name="Labels", **place)
    with pytest.raises(DiffpriorError, match="Labels has another scale or place than photo"):
        plugin.run_on_layers(offered()["inpaint"], layer(photo), mask=mask)


def test_samples_and_their_deviation_are_layers(photo: np.ndarray) -> None:
    out = plugin.run_on_layers(
        offered()["denoise"], layer(photo[..., 0]), sigma="0.1", samples=2, steps="2"
    )
    names = [about["name"] for _, about, _ in out]
    assert names == ["photo denoised 1", "photo denoised 2", "photo denoised: deviation"]
    assert [data.shape for data, _, _ in out] == [(SIDE, SIDE)] * 3
    assert out[0][1]["rgb"] is False and out[2][0].max() > 0


def test_an_enlarged_layer_covers_the_same_place(photo: np.ndarray) -> None:
    ((data, about, _),) = plugin.run_on_layers(
        offered()["upscale"], layer(photo[:32, :32]), scale=2, steps="2"
    )
    assert data.shape == (64, 64, 3) and about["scale"] == (0.5, 0.5)


@pytest.mark.parametrize(
    ("image", "values", "words"),
    [
        (None, {}, "there is no image layer; open an image first"),
        ("stack", {}, "the layer stack has 3 axes; a task takes one image"),
        ("photo", {"steps": "many"}, "steps is a whole number, got 'many'"),
        ("photo", {"samples": 0}, "samples are a whole number from 1 to 10000, got 0"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    photo: np.ndarray, image: str | None, values: dict[str, Any], words: str
) -> None:
    layers = {"photo": layer(photo), "stack": layer(photo, name="stack", rgb=False)}
    with pytest.raises(DiffpriorError, match=words):
        plugin.run_on_layers(offered()["denoise"], image and layers[image], **values)


# The widgets of magicgui: with Qt where napari is installed, and with ipywidgets elsewhere


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> str:
    """What magicgui draws with here."""
    application = pytest.importorskip("magicgui.application", reason="magicgui is not installed")
    monkeypatch.setattr(application.Application, "_instance", None)
    if importlib.util.find_spec("napari") is None:
        monkeypatch.setitem(sys.modules, "napari", SimpleNamespace(current_viewer=lambda: None))
        application.use_app("ipynb")
        return "ipynb"
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    application.use_app("qt")
    return "qt"


def test_every_task_has_a_widget(backend: str) -> None:
    for name, form in offered().items():
        widget = getattr(plugin, name)()
        fields = settings(form)
        assert {w.name for w in widget} >= {"image", plugin.MORE, *(f.name for f in fields)}
        if backend == "qt":
            widget.show()
        for field in fields:
            assert widget[field.name].tooltip == field.help
            assert widget[field.name].visible == field.common, field.name
        widget[plugin.MORE].value = True
        assert all(widget[field.name].visible for field in fields)


def test_a_widget_adds_layers_to_a_viewer(
    backend: str, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With napari's own viewer, layers and threads, but without a window, which needs OpenGL."""
    components = pytest.importorskip("napari.components", reason="napari is not installed")
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = components.ViewerModel()
    monkeypatch.setattr(napari, "current_viewer", lambda: viewer)
    image = viewer.add_image(photo, name="photo", scale=(0.5, 0.5))
    labels = np.zeros((SIDE, SIDE), int)
    labels[20:30, 10:25] = 1
    mask = viewer.add_labels(labels, scale=(0.5, 0.5))
    corners = np.array([[20, 10], [20, 24], [29, 24], [29, 10]])
    shapes = viewer.add_shapes([corners], scale=(0.5, 0.5))
    widget = plugin.inpaint()
    assert widget.image.value is image
    assert set(widget.mask.choices) == {None, mask, shapes}
    expected = diffprior.inpaint(photo, labels > 0, fill="smooth", steps=2)
    widget.fill.value = "smooth"
    for k, chosen in enumerate((mask, shapes), 4):
        widget.mask.value = chosen
        widget()
        for _ in range(600):
            QApplication.processEvents()
            if len(viewer.layers) == k:
                break
            time.sleep(0.05)
        added = viewer.layers[-1]
        assert added.name.startswith("photo inpainted") and added.rgb
        assert (added.data == expected.image).all()
        assert tuple(added.scale) == (0.5, 0.5)
