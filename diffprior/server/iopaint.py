"""The request of IOPaint, which plug-ins of other programs send: one schema, one table.

The names of the fields and the shapes of the answers are those of IOPaint 1 (``InpaintRequest``,
``ModelInfo`` and ``ServerConfigResponse`` of its API). What has no meaning here is accepted and
left aside: see `FIELDS`.
"""

import base64
import binascii
import io
import json
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError

from ..io import files
from ..io.arrays import LUMA
from ..validation import literal
from .forms import forms
from .jobs import Order
from .limits import Refusal
from .service import Service
from .store import Image, Store, reading

__all__ = [
    "FIELDS",
    "SAMPLERS",
    "SCHEMA",
    "ModelChoice",
    "chosen_model",
    "inpaint_of",
    "model_info",
    "server_config",
]

SEED = 42  # that IOPaint takes by default
RANDOM = -1  # a seed that stands for any
MOST_SEED = 99_999_999
HALF = 127  # of 255; a mask is what is brighter
IMAGES = ("image", "mask")
TEXT, NUMBER, WHOLE, FLAG = "string", "number", "integer", "boolean"
USED: Mapping[str, tuple[str, str]] = {
    "image": (TEXT, "the image, in base64, with or without data:image/png;base64, before it"),
    "mask": (TEXT, "the mask, likewise: what is brighter than half is filled"),
    "sd_seed": (WHOLE, "the seed; -1 is a random one, which X-Seed says"),
    "prompt": (TEXT, "the prompt, of a prior that reads text"),
    "negative_prompt": (TEXT, "the negative prompt, of a prior that reads text"),
    "sd_steps": (WHOLE, "steps, of a prior that reads text"),
    "sd_guidance_scale": (NUMBER, "guidance_scale, of a prior that reads text, with a prompt"),
    "use_croper": (FLAG, "whether only what lies in the box of the cropper is filled"),
    "croper_x": (WHOLE, "left edge of that box"),
    "croper_y": (WHOLE, "top edge of that box"),
    "croper_height": (WHOLE, "height of that box"),
    "croper_width": (WHOLE, "width of that box"),
    "use_extender": (FLAG, "refused if true: images are not extended"),
}
LEFT_ASIDE: Mapping[str, str] = {
    "ldm_steps": WHOLE,
    "ldm_sampler": TEXT,
    "zits_wireframe": FLAG,
    "hd_strategy": TEXT,
    "hd_strategy_crop_trigger_size": WHOLE,
    "hd_strategy_crop_margin": WHOLE,
    "hd_strategy_resize_limit": WHOLE,
    "extender_x": WHOLE,
    "extender_y": WHOLE,
    "extender_height": WHOLE,
    "extender_width": WHOLE,
    "sd_scale": NUMBER,
    "sd_mask_blur": WHOLE,
    "sd_strength": NUMBER,
    "sd_sampler": TEXT,
    "sd_match_histograms": FLAG,
    "sd_outpainting_softness": NUMBER,
    "sd_outpainting_space": NUMBER,
    "sd_lcm_lora": FLAG,
    "sd_keep_unmasked_area": FLAG,
    "cv2_flag": TEXT,
    "cv2_radius": WHOLE,
    "paint_by_example_example_image": TEXT,
    "p2p_image_guidance_scale": NUMBER,
    "enable_controlnet": FLAG,
    "controlnet_conditioning_scale": NUMBER,
    "controlnet_method": TEXT,
    "enable_brushnet": FLAG,
    "brushnet_method": TEXT,
    "brushnet_conditioning_scale": NUMBER,
    "enable_powerpaint_v2": FLAG,
    "powerpaint_task": TEXT,
    "fitting_degree": NUMBER,
}
FIELDS = {**{name: kind for name, (kind, _) in USED.items()}, **LEFT_ASIDE}
SCHEMA = {
    "title": "InpaintRequest",
    "type": "object",
    "required": list(IMAGES),
    "properties": {
        name: {"type": kind, **({"description": USED[name][1]} if name in USED else {})}
        for name, kind in FIELDS.items()
    },
}
# As IOPaint reads them: 42.0 and "42" are whole numbers, and 1 is true.
KINDS: Mapping[str, TypeAdapter[Any]] = {
    TEXT: TypeAdapter(str),
    NUMBER: TypeAdapter(float),
    WHOLE: TypeAdapter(int),
    FLAG: TypeAdapter(bool),
}
NO_MODEL = {
    "controlnets": [],
    "brushnets": [],
    "support_outpainting": False,
    "support_lcm_lora": False,
    "support_controlnet": False,
    "support_brushnet": False,
    "support_powerpaint_v2": False,
}
SAMPLERS: list[str] = []


class ModelChoice(BaseModel):
    """The model that a program wants to work with."""

    name: str


def inpaint_of(body: bytes, service: Service) -> tuple[Order, int]:
    """Return the order of a request of IOPaint, and its seed.

    Raises:
        Refusal: If it cannot be read, or asks for what there is not.
    """
    asked = _fields(body)
    if asked.get("use_extender"):
        raise Refusal(400, "use_extender: images are not extended here; extend it before")
    store = service.store
    image = _decoded("image", asked, store)
    try:
        mask = _mask(image, asked, service)
    except BaseException:
        store.discard(image)
        raise
    seed = asked.get("sd_seed", SEED)
    seed = secrets.randbelow(MOST_SEED) + 1 if seed == RANDOM else seed
    if not 0 <= seed < 2**63:
        raise Refusal(422, f"sd_seed is a whole number from -1 on, got {literal(seed, 40)}")
    given: dict[str, Any] = {"mask": mask, "seed": seed, **_of_text(asked, service.prior)}
    form = forms()["inpaint"]
    values = {field.name: given.get(field.name, field.default) for field in form.fields}
    order = Order(form=form, source=image, values=values, given=given, suffix=".png")
    return order, seed


def model_info(prior: Any) -> dict[str, Any]:
    """Return the prior as IOPaint describes its model."""
    reads_text = bool(prior.reads_text)
    kind = "diffusers_sd_inpaint" if reads_text else "inpaint"
    return {
        "name": prior.name,
        "path": prior.name,
        "model_type": kind,
        "is_single_file_diffusers": False,
        "need_prompt": reads_text,
        "support_strength": False,
        **NO_MODEL,
    }


def chosen_model(prior: Any, name: str) -> dict[str, Any]:
    """Return the prior as IOPaint answers a choice of its model.

    Raises:
        Refusal: If another model is asked for: a server keeps the prior that it was started with.
    """
    if name != prior.name:
        told = f"this server was started with the prior {prior.name}"
        raise Refusal(404, f"{told}; there is no model {literal(name, 40)}")
    return model_info(prior)


def server_config(prior: Any) -> dict[str, Any]:
    """Return what IOPaint says of itself: here there are no plug-ins and no other models."""
    return {
        "plugins": [],
        "modelInfos": [model_info(prior)],
        "removeBGModel": "briaai/RMBG-1.4",
        "removeBGModels": [],
        "realesrganModel": "realesr-general-x4v3",
        "realesrganModels": [],
        "interactiveSegModel": "vit_b",
        "interactiveSegModels": [],
        "enableFileManager": False,
        "enableAutoSaving": False,
        "enableControlnet": False,
        "controlnetMethod": None,
        "disableModelSwitch": True,
        "isDesktop": False,
        "samplers": SAMPLERS,
    }


def _fields(body: bytes) -> dict[str, Any]:
    """Return the fields of a request, each of its kind; those that are null are left out."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the request is no JSON") from None
    if not isinstance(asked, dict):
        raise Refusal(422, "the request is an object of fields")
    return {
        name: _value(name, value)
        for name, value in asked.items()
        if name in FIELDS and value is not None
    }


def _value(name: str, value: Any) -> Any:
    """Return a field as its kind."""
    kind = FIELDS[name]
    try:
        return KINDS[kind].validate_python(value)
    except ValidationError:
        raise Refusal(422, f"{name} is of the kind {kind}, got {literal(value, 40)}") from None


def _of_text(asked: Mapping[str, Any], prior: Any) -> dict[str, Any]:
    """Return the settings of a prior that reads text; others have no use for them."""
    if not prior.reads_text:
        return {}
    names = {"prompt": "prompt", "negative_prompt": "negative_prompt", "sd_steps": "steps"}
    given = {here: asked[there] for there, here in names.items() if asked.get(there)}
    if "prompt" in given and "sd_guidance_scale" in asked:
        given["guidance_scale"] = float(asked["sd_guidance_scale"])
    return given


def _decoded(name: str, asked: Mapping[str, Any], store: Store) -> Image:
    """Return an image of a request, of base64 with or without the head of a data URL."""
    text = asked.get(name)
    if not text:
        raise Refusal(422, f"{name} is missing: give it in base64")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(422, f"{name} is no base64") from None
    return store.read(io.BytesIO(data), name)


def _mask(image: Image, asked: Mapping[str, Any], service: Service) -> Image:
    """Return the mask of a request in black and white, as IOPaint reads it: opacity is no part."""
    store = service.store
    sent = _decoded("mask", asked, store)
    try:
        if (sent.width, sent.height) != (image.width, image.height):
            raise Refusal(
                400,
                f"the mask is {sent.width}x{sent.height}, and the image is "
                f"{image.width}x{image.height}; give one of the same size",
            )
        with reading(), sent.open() as stream:
            file = files.read(stream, service.config.limits.pixels)
    finally:
        store.discard(sent)
    values = file.images.values[0]
    gray = values[..., 0] if values.shape[-1] == 1 else values @ np.array(LUMA, np.float32)
    white = gray > HALF * file.images.level
    data = files.encode(
        255 * (white & _box(white, asked))[..., None].astype(np.uint8), None, ".png"
    )
    return store.read(io.BytesIO(data), "mask.png")


def _box(white: np.ndarray[Any, Any], asked: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Return where a mask counts: everywhere, or in the box of the cropper."""
    inside = np.ones(white.shape, bool)
    if asked.get("use_croper"):
        inside[:] = False
        top, left = (max(0, min(asked.get(name, 0), 2**31)) for name in ("croper_y", "croper_x"))
        height, width = (
            max(0, min(asked.get(name, 512), 2**31)) for name in ("croper_height", "croper_width")
        )
        inside[top : top + height, left : left + width] = True
    return inside
