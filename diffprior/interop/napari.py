"""The plug-in of napari: a widget for each task, made from its signature; layers in, layers out.

``napari.yaml`` beside this module is the manifest that napari finds. The widgets are functions of
this module, as in ``inpaint``, that are made when they are asked for.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import ExtraError, ImageError, SettingError
from ..server.forms import Field, Form
from .offered import NUMBERS, given, offered, settings

__all__ = ["manifest", "run_on_layers"]

EMPTY = {"int": "", "float": "", "text": "", "choice": ""}
MASKS = ("Labels", "Shapes")  # kinds of layers that a mask is painted on

LARGEST = 2**31 - 1  # that a control of Qt counts to
MORE = "all_settings"
ALL = Field(  # the box that shows the settings which few calls need
    name=MORE,
    label="All settings",
    kind="flag",
    required=False,
    default=False,
    help="Show all settings.",
    group="",
    common=True,
)

LayerData = tuple[Any, dict[str, Any], str]  # as napari adds layers


def __getattr__(name: str) -> Callable[[], Any]:
    """Return the function that makes the widget of a task."""
    if name in offered():
        return partial(_widget, offered()[name])
    raise AttributeError(f"module {__name__!r} has no {name!r}")


def manifest() -> dict[str, Any]:
    """Return the manifest of the plug-in, which ``napari.yaml`` holds."""
    tasks = offered()
    return {
        "name": "diffprior",
        "display_name": "diffprior",
        "categories": ["Image Processing"],
        "contributions": {
            "commands": [
                {
                    "id": f"diffprior.{name}",
                    "title": form.title,
                    "python_name": f"{__name__}:{name}",
                }
                for name, form in tasks.items()
            ],
            "widgets": [
                {"command": f"diffprior.{name}", "display_name": form.title}
                for name, form in tasks.items()
            ],
        },
    }


def run_on_layers(form: Form, image: Any, **values: Any) -> list[LayerData]:
    """Run a task on a layer of napari; return the layers of its result.

    Arguments:
        form: The task.
        image: An image layer, gray ``(H, W)`` or in color.
        values: Settings as the widget has them: numbers and texts as texts, layers for images.
            A mask is a layer of labels or of shapes.

    Raises:
        ImageError: If a layer cannot be used.
        SettingError: If a setting cannot be used.
    """
    fields = {field.name: field for field in settings(form)}
    set_ = given(form, values, EMPTY)
    pixels = _pixels(image)
    typed = {name: _typed(fields[name], value, image) for name, value in set_.items()}
    result = form.command.load()(pixels, **typed)
    return _layers(form, image, result)


def _layers(form: Form, image: Any, result: Any) -> list[LayerData]:
    """Return the samples of a result as layers, where the image is, and their deviation."""
    height, width = _pixels(image).shape[:2]
    shape = np.shape(result.image)
    scale = np.asarray(image.scale)[-2:] * (height, width) / np.asarray(shape[:2])
    place = {"scale": tuple(scale), "translate": tuple(np.asarray(image.translate)[-2:])}
    name = f"{image.name} {form.command.past}"
    several = len(result.samples) > 1
    layers: list[LayerData] = []
    for k, sample in enumerate(result.samples, 1):
        about = {"name": f"{name} {k}" if several else name, "rgb": len(shape) == 3}
        layers.append((sample, {**about, **place, "metadata": {"report": result.report}}, "image"))
    if several:
        std = result.std if result.std.ndim == 2 else result.std.mean(-1)
        about = {"name": f"{name}: deviation", "colormap": "viridis", "visible": False}
        layers.append((std, {**about, **place}, "image"))
    return layers


def _pixels(layer: Any) -> np.ndarray[Any, Any]:
    """Return the pixels of an image layer, ``(H, W)`` or ``(H, W, C)``."""
    if layer is None:
        raise ImageError("there is no image layer; open an image first")
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    pixels = np.asarray(data)
    if pixels.ndim != (3 if layer.rgb else 2):
        raise ImageError(
            f"the layer {layer.name} has {pixels.ndim} axes; a task takes one image, gray or RGB"
        )
    return pixels


def _typed(field: Field, value: Any, image: Any) -> Any:
    """Return a setting of the widget as the task takes it."""
    if field.kind == "mask":
        return _mask(value, image)
    if field.kind == "image":
        return _pixels(value)
    number = NUMBERS.get(field.kind)
    if number is None:
        return value
    try:
        return number(value)
    except ValueError:
        kind = "a whole number" if number is int else "a number"
        raise SettingError(f"{field.name} is {kind}, got {value!r}") from None


def _mask(layer: Any, image: Any) -> np.ndarray[Any, Any]:
    """Return where labels or shapes lie on an image, bool ``(H, W)``.

    Raises:
        ImageError: If their pixels are not those of the image.
    """
    steps = np.asarray(image.scale)[-2:]
    scaled = np.allclose(np.asarray(layer.scale)[-2:], steps)
    away = np.asarray(layer.translate)[-2:] - np.asarray(image.translate)[-2:]
    if not scaled or (np.abs(away) > np.abs(steps) / 2).any():
        raise ImageError(
            f"the layer {layer.name} has another scale or place than {image.name}; give it the same"
        )
    if hasattr(layer, "to_labels"):
        return np.asarray(layer.to_labels(labels_shape=_pixels(image).shape[:2])) > 0
    return np.asarray(layer.data) > 0


def _widget(form: Form) -> Any:
    """Return the widget of a task, by magicgui."""
    try:
        from magicgui import magicgui
    except ImportError as error:
        raise ExtraError("the widgets need napari: pip install 'napari[all]'") from error
    fields = settings(form)
    common = [field for field in fields if field.common]
    more = [field for field in fields if not field.common]

    def function(image: Any, **values: Any) -> None:
        del values[MORE]
        _start(partial(run_on_layers, form, image, **values), form.title)

    parameters = [_parameter(field) for field in (*common, ALL, *more)]
    image = inspect.Parameter("image", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any)
    signed: Any = function
    signed.__signature__ = inspect.Signature([image, *parameters])
    options: dict[str, Any] = {field.name: _control(field) for field in (*fields, ALL)}
    layers = partial(_of_kind, ("Image",))
    options["image"] = {"label": "Image", "widget_type": "ComboBox", "choices": layers}
    made: Any = magicgui(signed, call_button=form.title, persist=False, scrollable=True, **options)

    def show(visible: bool) -> None:
        for field in more:
            made[field.name].visible = visible

    made[MORE].changed.connect(show)
    show(False)
    return made


def _parameter(field: Field) -> inspect.Parameter:
    """Return the parameter of a setting, of which magicgui makes a control."""
    default: Any = field.default
    kind: Any = {"flag": bool, "int": int}.get(field.kind, str)
    if field.kind in ("image", "mask"):
        kind = Any
    elif default is None:
        kind, default = str, ""
    elif kind is str:
        default = str(default)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, keyword, default=default, annotation=kind)


def _control(field: Field) -> dict[str, Any]:
    """Return how magicgui shows a setting."""
    control: dict[str, Any] = {"label": field.label, "tooltip": field.help}
    if field.kind in ("image", "mask"):
        kinds = MASKS if field.kind == "mask" else ("Image",)
        return control | {
            "widget_type": "ComboBox",
            "choices": partial(_of_kind, kinds),
            "nullable": True,
        }
    if field.kind == "int" and field.default is not None:
        low, high = field.minimum or 0, field.maximum or LARGEST
        return control | {"min": int(low), "max": int(high)}
    if field.kind == "choice":
        unset = [""] if field.default is None else []
        return control | {"widget_type": "ComboBox", "choices": [*unset, *(field.choices or ())]}
    return control


def _of_kind(kinds: Sequence[str], control: Any) -> list[Any]:
    """Return the layers of these kinds that the viewer holds."""
    import napari

    viewer = napari.current_viewer()
    layers: Sequence[Any] = () if viewer is None else viewer.layers
    return [layer for layer in layers if type(layer).__name__ in kinds]


def _start(work: Callable[[], list[LayerData]], title: str) -> None:
    """Do the work beside the viewer, which stays alive, and add the layers to it."""
    import napari
    from napari.qt.threading import create_worker

    viewer = napari.current_viewer()

    def add(layers: Sequence[tuple[Any, Mapping[str, Any], str]]) -> None:
        for data, about, kind in layers:
            viewer.add_layer(napari.layers.Layer.create(data, dict(about), kind))

    create_worker(work, _connect={"returned": add}, _progress={"desc": title})
