"""Plug-ins of IOPaint: a client written from its schema, as Krita, darktable and others send it."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffprior.server.iopaint import FIELDS, LEFT_ASIDE, USED

from support.web import API, picture, pixels, png, sentence

pytestmark = pytest.mark.usefixtures("quick")

DOCS = Path(__file__).parents[2] / "docs" / "rest.md"
PHOTO = picture(40, 48, 3, seed=8)
HOLE = np.zeros((40, 48), np.uint8)
HOLE[10:16, 20:30] = 255

# All fields of a request with their defaults, as IOPaint's own page sends them.
DEFAULTS = {
    "ldm_steps": 20,
    "ldm_sampler": "plms",
    "zits_wireframe": True,
    "hd_strategy": "Crop",
    "hd_strategy_crop_trigger_size": 800,
    "hd_strategy_crop_margin": 128,
    "hd_strategy_resize_limit": 1280,
    "prompt": "",
    "negative_prompt": "",
    "use_croper": False,
    "croper_x": 0,
    "croper_y": 0,
    "croper_height": 512,
    "croper_width": 512,
    "use_extender": False,
    "extender_x": 0,
    "extender_y": 0,
    "extender_height": 640,
    "extender_width": 640,
    "sd_scale": 1.0,
    "sd_mask_blur": 11,
    "sd_strength": 1.0,
    "sd_steps": 50,
    "sd_guidance_scale": 7.5,
    "sd_sampler": "UniPC",
    "sd_seed": 42,
    "sd_match_histograms": False,
    "sd_outpainting_softness": 20.0,
    "sd_outpainting_space": 20.0,
    "sd_lcm_lora": False,
    "sd_keep_unmasked_area": True,
    "cv2_flag": "INPAINT_NS",
    "cv2_radius": 4,
    "paint_by_example_example_image": None,
    "p2p_image_guidance_scale": 1.5,
    "enable_controlnet": False,
    "controlnet_conditioning_scale": 0.4,
    "controlnet_method": "lllyasviel/control_v11p_sd15_canny",
    "enable_brushnet": False,
    "brushnet_method": "random_mask",
    "brushnet_conditioning_scale": 1.0,
    "enable_powerpaint_v2": False,
    "powerpaint_task": "text-guided",
    "fitting_degree": 1.0,
}


def code(data: bytes, head: str = "") -> str:
    return head + base64.b64encode(data).decode()


def ask(client, **fields):
    body = {"image": code(png(PHOTO)), "mask": code(png(HOLE)), **fields}
    return client.post(f"{API}/inpaint", json=body)


def filled(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return pixels(answer.content)


@pytest.fixture(scope="module")
def expected(client, quick) -> np.ndarray:
    """The result of a request without further fields."""
    return filled(ask(client))


def test_a_request_with_all_fields_fills_the_hole_and_nothing_else(client):
    assert {"image", "mask", *DEFAULTS} == set(FIELDS)
    answer = ask(client, **DEFAULTS)
    assert answer.headers["x-seed"] == "42"
    result = filled(answer)
    assert np.array_equal(result[HOLE == 0], PHOTO[HOLE == 0])
    assert not np.array_equal(result, PHOTO)


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "data:application/octet-stream;base64,"]
)
def test_base64_has_a_head_or_not(client, head, expected):
    result = filled(ask(client, image=code(png(PHOTO), head), mask=code(png(HOLE), head)))
    assert np.array_equal(result, expected)


def test_numbers_and_flags_are_read_as_iopaint_reads_them(client, expected):
    """Programs write 42.0, "42" and 1, which IOPaint takes for 42 and true."""
    loose = {"sd_seed": 42.0, "ldm_steps": "20", "zits_wireframe": 1, "sd_guidance_scale": "7.5"}
    assert np.array_equal(filled(ask(client, **loose, use_croper="false")), expected)
    assert "sd_seed is of the kind integer, got 4.5" in sentence(ask(client, sd_seed=4.5), 422)


def test_the_result_is_that_of_the_form(client, expected):
    form = {"wait": "true", "seed": "42"}
    sent = {"image": ("image", png(PHOTO)), "mask": ("m.png", png(HOLE))}
    by_form = client.post(f"{API}/inpaint", data=form, files=sent)
    assert np.array_equal(expected, pixels(by_form.content))


def test_masks_are_read_as_iopaint_reads_them(client, expected):
    """Brightness above half counts, opacity does not, and colors have their luma."""
    soft = np.where(HOLE > 0, 128, 127).astype(np.uint8)
    assert np.array_equal(filled(ask(client, mask=code(png(soft)))), expected)
    clear = np.dstack([HOLE, HOLE, HOLE, np.full_like(HOLE, 10)])
    assert np.array_equal(filled(ask(client, mask=code(png(clear)))), expected)
    yellow = np.dstack([HOLE, HOLE, np.zeros_like(HOLE)])
    blue = np.dstack([np.zeros_like(HOLE)] * 2 + [255 - HOLE])
    assert np.array_equal(filled(ask(client, mask=code(png(yellow | blue)))), expected)


def test_an_empty_mask_changes_nothing(client):
    result = filled(ask(client, mask=code(png(np.zeros_like(HOLE)))))
    assert np.array_equal(result, PHOTO)


def test_transparency_and_orientation_are_kept(client):
    clear = np.dstack([PHOTO, np.full(HOLE.shape, 90, np.uint8)])
    result = filled(ask(client, image=code(png(clear))))
    assert result.shape == (40, 48, 4) and (result[..., 3] == 90).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = png(np.ascontiguousarray(PHOTO.swapaxes(0, 1)), "JPEG", exif=exif.tobytes())
    assert filled(ask(client, image=code(turned))).shape == (40, 48, 3)


def test_the_cropper_bounds_what_is_filled(client):
    box = {"use_croper": True, "croper_width": 25, "croper_height": 40}
    changed = (filled(ask(client, **box)) != PHOTO).any(-1)
    assert changed[:, :25].any() and not changed[:, 25:].any()


def test_a_random_seed_is_said(client):
    seeds = {ask(client, sd_seed=-1).headers["x-seed"] for _ in range(2)}
    assert len(seeds) == 2 and all(1 <= int(seed) <= 99_999_999 for seed in seeds)


def test_what_is_wrong_is_one_sentence(client):
    assert "is no base64" in sentence(ask(client, image="$$$"), 422)
    assert "image is missing" in sentence(ask(client, image=""), 422)
    assert "mask is missing" in sentence(ask(client, mask=None), 422)
    assert "it is no PNG" in sentence(ask(client, image=code(b"text")), 415)
    assert "sd_seed is of the kind integer" in sentence(ask(client, sd_seed="many"), 422)
    assert "extend it before" in sentence(ask(client, use_extender=True), 400)
    small = ask(client, mask=code(png(HOLE[:10])))
    assert "the mask is 48x10, and the image is 48x40" in sentence(small, 400)
    headers = {"Content-Type": "application/json"}
    for body in (b"", b"[1]", b"{", b"[" * 100_000):
        answer = client.post(f"{API}/inpaint", content=body, headers=headers)
        sentence(answer, answer.status_code)
        assert answer.status_code in (400, 422)


def test_the_model_and_the_server_have_the_shapes_of_iopaint(client):
    model = client.get(f"{API}/model").json()
    assert model["name"] == "photo" and model["model_type"] == "inpaint"
    assert set(model) == {
        *("name", "path", "model_type", "is_single_file_diffusers", "need_prompt"),
        *("controlnets", "brushnets", "support_strength", "support_outpainting"),
        *("support_lcm_lora", "support_controlnet", "support_brushnet"),
        "support_powerpaint_v2",
    }
    config = client.get(f"{API}/server-config").json()
    assert config["modelInfos"] == [model]
    assert set(config) == {
        *("plugins", "modelInfos", "removeBGModel", "removeBGModels", "realesrganModel"),
        *("realesrganModels", "interactiveSegModel", "interactiveSegModels"),
        *("enableFileManager", "enableAutoSaving", "enableControlnet", "controlnetMethod"),
        *("disableModelSwitch", "isDesktop", "samplers"),
    }


def test_the_model_of_the_server_can_be_chosen_and_no_other(client):
    model = client.get(f"{API}/model").json()
    assert client.post(f"{API}/model", json={"name": "photo"}).json() == model
    other = client.post(f"{API}/model", json={"name": "lama"})
    assert "started with the prior photo; there is no model 'lama'" in sentence(other, 404)
    assert "name" in sentence(client.post(f"{API}/model", json={}), 422)
    assert client.get(f"{API}/model").json() == model
    config = client.get(f"{API}/server-config").json()
    assert client.get(f"{API}/samplers").json() == config["samplers"]


def test_the_table_of_the_docs_names_every_field():
    table = DOCS.read_text(encoding="utf-8").partition("## Plug-ins of IOPaint")[2]
    told = {
        name
        for line in table.splitlines()
        if line.startswith("|")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert told >= {*USED, *LEFT_ASIDE}


def test_a_client_that_reads_bytes_or_json(client):
    """As programs do: try an image first, then JSON with the sentence."""
    answer = ask(client)
    assert Image.open(io.BytesIO(answer.content)).size == (48, 40)
    refused = ask(client, image="x")
    assert json.loads(refused.content)["error"]
