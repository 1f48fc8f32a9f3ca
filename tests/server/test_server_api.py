"""Images, tasks and results over HTTP: the same bits as the command line's."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from diffprior.io import files

from support.shell import diffprior
from support.web import API, FAST, over, picture, pixels, png, sentence, upload

HOLE = np.zeros((40, 48), np.uint8)
HOLE[12:20, 14:30] = 255
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FILL = {"fill": "smooth", "steps": "2"}


def same(mine: bytes, path: Path) -> None:
    """Two files are the same but for the seconds in their reports."""
    a, b = files.read(io.BytesIO(mine)), files.read(path)
    assert np.array_equal(a.images.values, b.images.values)
    assert (a.images.alpha is None) == (b.images.alpha is None)
    if a.images.alpha is not None:
        assert np.array_equal(a.images.alpha, b.images.alpha)
    for kind in ("icc", "exif", "xmp", "dpi", "color"):
        assert getattr(a.metadata, kind) == getattr(b.metadata, kind), kind
    reports = [dict(each.metadata.text) for each in (a, b)]
    assert [*reports[0]] == [*reports[1]]


def report_of(data: bytes) -> dict:
    text = Image.open(io.BytesIO(data)).text["diffprior"]
    return {k: v for k, v in json.loads(text).items() if "seconds" not in k}


def exif_turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker"
    return exif.tobytes()


def sources() -> dict[str, bytes]:
    """Files with 16 bits, transparency, a profile, EXIF, and gray ones."""
    deep = io.BytesIO()
    tifffile.imwrite(deep, picture(40, 48, 3, dtype=np.uint16), photometric="rgb")
    smooth = np.add.outer(np.arange(48), 3 * np.arange(40)).astype(np.uint8)
    turned = np.stack([smooth, smooth[::-1], 255 - smooth], -1)
    return {
        "deep.tif": deep.getvalue(),
        "turned.jpg": png(turned, "JPEG", exif=exif_turned(), icc_profile=PROFILE, quality=95),
        "clear.png": png(picture(40, 48, 4, seed=3), icc_profile=PROFILE),
        "gray.png": png(picture(40, 48, seed=4)),
    }


@pytest.fixture(scope="module")
def by_command(tmp_path_factory) -> Path:
    """The folder in which the command line filled all sources in one run."""
    folder = tmp_path_factory.mktemp("command")
    for name, data in sources().items():
        (folder / name).write_bytes(data)
    (folder / "hole.png").write_bytes(png(HOLE))
    words = ["--mask", "hole.png", "--fill", "smooth", "--steps", "2", "-o", "out/"]
    done = diffprior("inpaint", *sources(), *words, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", sources())
def test_a_result_is_that_of_the_command_line_bit_for_bit(client, by_command, name):
    image = upload(client, sources()[name], name)
    assert (image["width"], image["height"]) == (48, 40)
    form = {"image": image["id"], "wait": "true", **FILL}
    answer = client.post(f"{API}/inpaint", data=form, files={"mask": ("hole.png", png(HOLE))})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-diffprior-seed"] == "0"
    stem = name.partition(".")[0]
    expected = by_command / "out" / f"{stem}.inpainted.png"
    assert f'filename="{expected.name}"' in answer.headers["content-disposition"]
    same(answer.content, expected)
    assert report_of(answer.content) == report_of(expected.read_bytes())
    before = files.read(io.BytesIO(sources()[name])).images
    after = files.read(io.BytesIO(answer.content)).images
    known = HOLE == 0
    assert np.array_equal(before.values[0][known], after.values[0][known])
    assert not np.array_equal(before.values, after.values)
    if before.alpha is not None:
        assert np.array_equal(before.alpha, after.alpha)


def test_other_formats_are_those_of_the_command_line(client, tmp_path):
    data = sources()["turned.jpg"]
    (tmp_path / "turned.jpg").write_bytes(data)
    image = upload(client, data, "turned.jpg")
    job = client.post(f"{API}/denoise", data={"image": image["id"], **FAST}).json()["job"]
    assert over(client, job)["state"] == "done"
    options = [f"--{name}={value}" for name, value in FAST.items()]
    done = diffprior("denoise", "turned.jpg", *options, "-o", "b.jpg", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = client.get(f"{API}/jobs/{job}/results/1", params={"format": "jpg"})
    assert answer.content == (tmp_path / "b.jpg").read_bytes()
    assert answer.headers["content-type"] == "image/jpeg"
    text = sentence(client.get(f"{API}/jobs/{job}/results/1?format=exe"), 422)
    assert text.startswith("format is one of png, ")


def test_the_bytes_that_were_sent_are_kept(client):
    data = sources()["turned.jpg"]
    image = upload(client, data, "turned.jpg")
    assert client.get(f"{API}/images/{image['id']}/file").content == data
    assert client.get(f"{API}/images/{image['id']}").json() == image
    assert image in client.get(f"{API}/images").json()
    assert client.delete(f"{API}/images/{image['id']}").status_code == 204
    for address in ("", "/file", "/preview"):
        assert "no image" in sentence(client.get(f"{API}/images/{image['id']}{address}"), 404)
    sentence(client.delete(f"{API}/images/{image['id']}"), 404)


def test_what_an_image_is_said_to_be(client):
    deep = upload(client, sources()["deep.tif"], "deep.tif")
    assert (deep["depth"], deep["channels"], deep["alpha"]) == (16, 3, False)
    clear = upload(client, sources()["clear.png"])
    assert (clear["depth"], clear["channels"], clear["alpha"]) == (8, 3, True)
    floats = io.BytesIO()
    tifffile.imwrite(floats, np.full((20, 30), 0.25, np.float32))
    gray = upload(client, floats.getvalue(), "f.tif")
    assert (gray["depth"], gray["channels"]) == ("float", 1)
    preview = pixels(client.get(gray["preview"]).content)
    assert preview.shape == (20, 30) and (preview == 64).all()


def test_a_preview_is_small_upright_and_has_the_colors(client):
    rows = np.linspace(0, 255, 1500).astype(np.uint8)
    wide = np.broadcast_to(rows[None, :, None], (900, 1500, 3))
    exif = Image.Exif()
    exif[0x0112] = 8
    data = png(np.ascontiguousarray(wide), "JPEG", exif=exif.tobytes(), icc_profile=PROFILE)
    image = upload(client, data, "big.jpg")
    assert (image["width"], image["height"]) == (900, 1500)
    whole = client.get(image["preview"])
    assert whole.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(whole.content)).info["icc_profile"] == PROFILE
    assert pixels(whole.content).shape == (1500, 900, 3)
    small = pixels(client.get(image["preview"], params={"side": 300}).content)
    assert small.shape == (300, 180, 3)
    # orientation 8 is a quarter turn against the clock: the bright right edge is the top
    assert small[0].mean() > 240 and small[-1].mean() < 15


def test_samples_their_deviation_and_what_follows(client):
    data = png(picture(40, 48, 3))
    image = upload(client, data, "photo.png")
    form = {"image": image["id"], "samples": "3", "steps": "1", "fill": "smooth"}
    hole = {"mask": ("m.png", png(HOLE))}
    job = client.post(f"{API}/inpaint", data=form, files=hole).json()["job"]
    info = over(client, job)
    assert info["state"] == "done" and info["samples"] == 3 and info["share"] == 1
    names = [result["name"] for result in info["results"]]
    assert names == [f"photo.inpainted-{k}.png" for k in (1, 2, 3)]
    drawn = [pixels(client.get(result["file"]).content) for result in info["results"]]
    assert not np.array_equal(drawn[0], drawn[1])
    assert info["report"]["samples"] == 3 and info["report"]["prior"] == "photo"
    veil = pixels(client.get(info["veil"]).content)
    spread = np.stack(drawn).astype(float).std(0, ddof=1).mean(-1) / 255
    assert veil.shape == (40, 48, 4) and tuple(veil[0, 0, :3]) == (0xD6, 0x24, 0x6E)
    expected = np.rint(255 * (spread / 0.15).clip(0, 1))
    assert np.abs(veil[..., 3] - expected).max() <= 2
    assert (veil[HOLE == 0, 3] == 0).all() and (veil[HOLE > 0, 3] > 0).any()
    heat = client.get(info["uncertainty"])
    assert pixels(heat.content).shape == (40, 48, 3)
    assert pixels(client.get(f"{info['uncertainty']}/preview?side=24").content).shape == (20, 24, 3)
    panels = pixels(client.get(info["compare"]).content)
    assert panels.shape == (40, 3 * 48, 3) and np.array_equal(panels[:, :48], pixels(data))
    assert np.array_equal(panels[:, 96:], drawn[0])
    preview = client.get(info["results"][1]["preview"]).content
    assert np.array_equal(pixels(preview), drawn[1])  # a small one is exact
    onward = client.post(f"{API}/images", data={"job": job, "sample": "2"})
    assert onward.status_code == 201 and onward.json()["name"] == "photo.inpainted-2.png"
    kept = client.get(f"{API}/images/{onward.json()['id']}/file").content
    assert kept == client.get(info["results"][1]["file"]).content
    assert "1 to 3" in sentence(client.get(f"{API}/jobs/{job}/results/4"), 404)
    assert client.delete(f"{API}/jobs/{job}").status_code == 204
    sentence(client.get(info["results"][0]["file"]), 404)


def test_uncertainty_draws_samples_as_the_command_line_does(client):
    form = {"uncertainty": "true", "steps": "1", "method": "mmps(iterations=1)", "sigma": "0.2"}
    files_ = {"image": ("a.png", png(picture(8, 8, 3)))}
    job = client.post(f"{API}/denoise", data=form, files=files_).json()["job"]
    info = over(client, job)
    assert info["samples"] == 8 and info["uncertainty"] is not None, info
    assert "--samples 8" in info["command"]
    assert info["image"] is None and info["name"] == "a.png"


def test_several_images_are_jobs_in_order(client):
    ids = [upload(client, png(picture(8, 8, 3, seed=k)), f"{k}.png")["id"] for k in range(3)]
    answer = client.post(f"{API}/denoise", data={"image": ids, **FAST})
    tickets = answer.json()
    assert answer.status_code == 202 and len(tickets) == 3
    infos = [over(client, ticket["job"]) for ticket in tickets]
    assert [info["image"] for info in infos] == ids
    assert [info["results"][0]["name"] for info in infos] == [f"{k}.denoised.png" for k in range(3)]
    text = sentence(client.post(f"{API}/denoise", data={"image": ids, "wait": "true"}), 422)
    assert text == "wait is for one image; ask for several without it"


def test_tasks_that_read_no_image_and_those_that_read_numbers(client):
    answer = client.post(
        f"{API}/generate", data={"width": "16", "height": "16", "steps": "1", "wait": "true"}
    )
    assert answer.status_code == 200 and pixels(answer.content).shape == (16, 16, 3), answer.text
    assert 'filename="generated.png"' in answer.headers["content-disposition"]
    y = io.BytesIO()
    np.save(y, np.full((3, 8, 8), 0.5, np.float32))
    form = {"operator": "average(factor=2)", "width": "16", "height": "16", "steps": "1"}
    sent = {"image": ("y.npy", y.getvalue())}
    answer = client.post(f"{API}/reconstruct", data=form | {"wait": "true"}, files=sent)
    assert answer.status_code == 200, answer.text
    block = pixels(answer.content).reshape(8, 2, 8, 2, 3).mean((1, 3))
    assert np.abs(block - 255 * 0.75).max() < 2


def test_a_kernel_and_an_inversion_can_be_sent(client):
    kernel = np.zeros((5, 5), np.uint8)
    kernel[2] = 255
    image = png(picture(16, 16, 3))
    form = {"sigma": "0.05", "steps": "1", "boundary": "circular"}
    sent = {"image": ("a.png", image), "kernel": ("k.png", png(kernel))}
    job = client.post(f"{API}/deblur", data=form, files=sent).json()["job"]
    info = over(client, job)
    assert info["state"] == "done" and info["report"]["kernel"] == "k.png", info["error"]
    assert "--kernel k.png" in info["command"]
    code = client.post(
        f"{API}/invert", data={"steps": "2", "wait": "true"}, files={"image": ("a.png", image)}
    )
    assert code.status_code == 200, code.text
    assert 'filename="a.inverted.safetensors"' in code.headers["content-disposition"]
    sent = {"image": ("a.png", image), "inversion": ("a.safetensors", code.content)}
    edited = client.post(f"{API}/edit", data={"wait": "true"}, files=sent)
    assert edited.status_code == 200 and pixels(edited.content).shape == (16, 16, 3), edited.text


def test_masks_are_those_of_the_command_line(client, tmp_path):
    rng = np.random.default_rng(2)
    photo = (128 + 20 * rng.standard_normal((96, 120, 3))).clip(0, 255).astype(np.uint8)
    painted = photo.copy()
    painted[20:30, 40:80] = (255, 0, 255)
    for name, array in (("photo", photo), ("painted", painted)):
        (tmp_path / f"{name}.png").write_bytes(png(array))
    shutil.copy(tmp_path / "painted.png", tmp_path / "lines.png")
    first = upload(client, png(painted))["id"]
    color = client.post(
        f"{API}/masks/color", data={"image": first, "color": "#ff00ff", "dilate": "1"}
    )
    words = ["mask", "color", "#ff00ff", "painted.png", "--dilate=1", "-o", "c.png", "--no-show"]
    assert diffprior(*words, folder=tmp_path).returncode == 0
    assert np.array_equal(pixels(color.content), pixels((tmp_path / "c.png").read_bytes()))
    assert pixels(color.content)[25, 60] == 255 and pixels(color.content)[60, 60] == 0
    sent = {"other": ("photo.png", png(photo))}
    other = client.post(f"{API}/masks/difference", data={"image": first}, files=sent)
    found = pixels(other.content) > 0
    assert found[20:30, 40:80].all() and not found[50:].any()
    for finder in ("scratches", "text"):
        answer = client.post(f"{API}/masks/{finder}", data={"image": first, "sensitivity": "0.3"})
        assert answer.headers["content-type"] == "image/png"
        assert pixels(answer.content).shape == (96, 120)
    wrong = client.post(f"{API}/masks/color", data={"image": first, "color": "no color"})
    assert "no color" in sentence(wrong, 400)
    assert "color is missing" in sentence(
        client.post(f"{API}/masks/color", data={"image": first}), 422
    )
    sentence(client.post(f"{API}/masks/wishes", data={"image": first}), 404)


BAD = {
    "no field": ({}, 422, "image is missing: give the id of an image, or a file"),
    "an unknown image": ({"image": "nobody"}, 404, "there is no image nobody; it may have been"),
    "an unknown field": (
        {"sigmo": "1"},
        422,
        "denoise has no field 'sigmo'; did you mean 'sigma'?",
    ),
    "the prior": ({"prior": "photo"}, 400, "prior is a setting of the server, not of a request"),
    "a count": ({"samples": "many"}, 422, "samples is a whole number, got 'many'"),
    "a large count": ({"samples": "9" * 30}, 422, "samples is a whole number from 1 to 10000"),
    "no steps": ({"steps": "0"}, 422, "steps is a whole number from 1 to 100000, got 0"),
    "a format": ({"format": "psd"}, 422, "format is one of png, jpg"),
    "a flag": ({"wait": "perhaps"}, 422, "wait is true or false, got 'perhaps'"),
    "twice": ({"seed": ["1", "2"]}, 422, "seed is given 2 times; give it once"),
    "a method": ({"method": "nonsense"}, 422, "there is no method 'nonsense'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_field_is_one_sentence(client, case):
    form, status, text = BAD[case]
    image = {} if case == "no field" else {"image": upload(client, png(picture(8, 8, 3)))["id"]}
    assert text in sentence(client.post(f"{API}/denoise", data={**image, **form}), status)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.png", b"not an image", "a.png: it is no PNG, JPEG"),
        ("b.png", png(picture(8, 8, 3))[:60], "b.png: it is damaged or cut short"),
        ("c.txt", b"", "c.txt: it is empty"),
        ("\u202egnp.exe", b"MZ", r"\u202egnp.exe: it is no PNG"),
        ("../../etc/passwd", b"root", "passwd: it is no PNG"),
        ("<img src=x>.png", b"x", "<img src=x>.png: it is no PNG"),
    ],
)
def test_what_is_no_image_is_refused_by_its_name(client, name, data, text):
    answer = client.post(f"{API}/images", files={"file": (name, data)})
    assert sentence(answer, 415).startswith(text)
    answer = client.post(f"{API}/denoise", files={"image": (name, data)})
    assert sentence(answer, 415).startswith(text)


def test_a_mask_of_another_size_fails_the_job_in_one_sentence(client):
    sent = {"image": ("a.png", png(picture(16, 16, 3))), "mask": ("m.png", png(HOLE))}
    answer = client.post(f"{API}/inpaint", data={"wait": "true"}, files=sent)
    assert "the mask is 48x40 but the image is 16x16" in sentence(answer, 400)


def test_what_the_server_says_of_itself(client):
    info = client.get(f"{API}/server").json()
    assert info["prior"] == "photo" and info["max_pixels"] == files.LIMIT
    assert info["max_bytes"] == 512 * 2**20 and info["jobs"] == 100
    assert client.get("/healthz").json() == {"ok": True}
    sentence(client.get(f"{API}/nothing"), 404)
    sentence(client.put(f"{API}/images"), 405)
    sentence(client.post(f"{API}/images", json={}), 415)


def test_warnings_of_the_work_are_those_of_the_job(client):
    form = {"sigma": "0.001", "steps": "1", "method": "dpir(start=0.9)"}
    sent = {"image": ("noisy.png", png(picture(16, 16, 3)))}
    info = over(client, client.post(f"{API}/denoise", data=form, files=sent).json()["job"])
    assert any(text.startswith("the residual is") for text in info["warnings"]), info


def test_the_python_of_a_job_makes_its_pixels(client, tmp_path):
    data = png(picture(40, 48, 3))
    sent = {"image": ("photo.png", data), "mask": ("hole.png", png(HOLE))}
    info = over(client, client.post(f"{API}/inpaint", data=FILL, files=sent).json()["job"])
    assert info["command"] == (
        "diffprior inpaint photo.png --mask hole.png --fill smooth --steps 2"
    )
    (tmp_path / "photo.png").write_bytes(data)
    (tmp_path / "hole.png").write_bytes(png(HOLE))
    code = info["python"].replace("Path('", f"Path('{tmp_path}/")
    space: dict = {}
    exec(code.replace("print(result)", "pass"), space)
    assert np.array_equal(
        space["result"].image, pixels(client.get(info["results"][0]["file"]).content)
    )
