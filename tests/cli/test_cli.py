"""The command line, as a process of its own on real files."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from support import warm

FAST = ("--steps", "2")


def diffprior(*arguments, folder=None, cold=False, stdin=b""):
    """Run the command; return the exit code, standard output (bytes) and error (text).

    Cold, it imports all that it needs, and its streams are pipes.
    """
    words = ["-m", "diffprior", *map(str, arguments)]
    if cold:
        words = [sys.executable, *words]
        done = subprocess.run(words, cwd=folder, input=stdin, capture_output=True, timeout=300)
    else:
        done = warm.run(*words, folder=folder, stdin=stdin)
    return done.returncode, done.stdout, done.stderr.decode()


def texture(height=40, width=52, channels=3, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    smooth = cv2.GaussianBlur(rng.random((height, width, channels)), (0, 0), 3)
    smooth = smooth.reshape(height, width, channels)
    return ((smooth - smooth.min()) / np.ptp(smooth) * top).astype(dtype)


def hole(height=40, width=52):
    mask = np.zeros((height, width), np.uint8)
    mask[10:20, 15:30] = 255
    return mask


@pytest.fixture
def place(tmp_path):
    """A folder with an image and a mask."""
    Image.fromarray(texture()).save(tmp_path / "img.png")
    Image.fromarray(hole()).save(tmp_path / "m.png")
    return tmp_path


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def pixels(path, mode="RGB"):
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


def test_fills_beside_the_input(place):
    arguments = ("inpaint", "--mask", "m.png", "img.png", *FAST)
    code, out, err = diffprior(*arguments, folder=place, cold=True)
    assert (code, out, err) == (0, b"", "")
    before, after = read(place / "img.png"), read(place / "img.inpainted.png")
    lost = hole() > 0
    assert np.array_equal(before[~lost], after[~lost])
    assert (before[lost] != after[lost]).any()
    with Image.open(place / "img.inpainted.png") as image:
        note = json.loads(image.text["diffprior"])
    assert note["prior"] == "photo" and len(note["prior_sha256"]) == 64
    assert note["seed"] == 0 and note["sigma"] == [0.0] and note["method"].startswith("DPIR(")


SHALLOW = [(k, s) for k in ("grey", "rgb") for s in (".png", ".jpg", ".webp", ".tif", ".bmp")]


@pytest.mark.parametrize("kind, suffix", [*SHALLOW, ("16 bit", ".png"), ("16 bit", ".tif")])
def test_formats_keep_what_is_known(tmp_path, kind, suffix):
    """Known pixels are those of the decoded file, in its depth and channels."""
    dtype = np.uint16 if kind == "16 bit" else np.uint8
    image = texture(channels=1 if kind == "grey" else 3, dtype=dtype).squeeze()
    cv2.imwrite(str(tmp_path / f"a{suffix}"), image)
    cv2.imwrite(str(tmp_path / "m.png"), hole())
    code, _, err = diffprior("inpaint", "--mask", "m.png", f"a{suffix}", *FAST, folder=tmp_path)
    assert code == 0, err
    after, lost = read(tmp_path / "a.inpainted.png"), hole() > 0
    before = read(tmp_path / f"a{suffix}")
    assert after.dtype == dtype and after.ndim == before.ndim
    assert np.array_equal(before[~lost], after[~lost])


def test_profile_orientation_and_palette(place):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(texture(52, 40))
    turned.save(place / "t.jpg", quality=95, icc_profile=profile, exif=exif)
    Image.fromarray(texture()).quantize(16).save(place / "p.png")
    code, _, err = diffprior("inpaint", "--mask", "m.png", "t.jpg", "p.png", *FAST, folder=place)
    assert code == 0, err
    with Image.open(place / "t.inpainted.png") as upright:
        assert upright.size == (52, 40) and upright.info["icc_profile"] == profile
    before, after, lost = pixels(place / "p.png"), pixels(place / "p.inpainted.png"), hole() > 0
    assert np.array_equal(before[~lost], after[~lost])


def test_transparency_is_the_hole(place):
    rgba = np.dstack([texture(), 255 - hole()])
    Image.fromarray(rgba).save(place / "a.png")
    code, _, err = diffprior("inpaint", "a.png", *FAST, folder=place)
    assert code == 0, err
    after, lost = pixels(place / "a.inpainted.png", "RGBA"), hole() > 0
    assert (after[..., 3] == 255).all() and np.array_equal(after[~lost], rgba[~lost])
    code, _, err = diffprior("inpaint", "img.png", *FAST, folder=place)
    assert code == 1 and "no mask" in err


def test_soft_grown_and_fitted_masks(place):
    """Gray blends, dilation and feathering reach so far and no further."""
    arguments = ("--dilate", "3", "--feather", "4", "-o", "soft.png", *FAST)
    code, _, err = diffprior("inpaint", "--mask", "m.png", "img.png", *arguments, folder=place)
    assert code == 0, err
    changed = (read(place / "img.png") != read(place / "soft.png")).any(-1)
    rows, columns = np.where(changed)
    assert 2 <= rows.min() < 7 and rows.max() <= 28 and columns.max() <= 38
    Image.fromarray(hole()[::2, ::2]).save(place / "small.png")
    code, _, err = diffprior("inpaint", "--mask", "small.png", "img.png", *FAST, folder=place)
    assert code == 1 and "26x20" in err and "52x40" in err and "--fit-mask" in err
    arguments = ("--fit-mask", *FAST)
    code, _, err = diffprior("inpaint", "--mask", "small.png", "img.png", *arguments, folder=place)
    assert code == 0, err


def test_many_files_at_once(place):
    """A folder, a glob and a broken file: the others are done, and a file is as it is alone."""
    many = place / "many"
    many.mkdir()
    for k in range(2):
        Image.fromarray(texture(seed=k)).save(many / f"{k}.png")
    (many / "2.png").write_bytes(b"not a picture")
    sampled = ("--method", "ddnm(start=0.5)", *FAST)
    arguments = ("inpaint", "--mask", "m.png", *sampled)
    code, _, err = diffprior(*arguments, "many", "-o", "out/", folder=place)
    assert code == 1 and len(err.splitlines()) == 1 and "2.png" in err
    code, _, err = diffprior(*arguments, "many/[1].png", folder=place)
    assert code == 0, err
    together, alone = read(place / "out/1.inpainted.png"), read(many / "1.inpainted.png")
    assert np.array_equal(together, alone)


def test_streams(place):
    data = (place / "img.png").read_bytes()
    arguments = ("inpaint", "--mask", "m.png", "-", *FAST)
    code, out, err = diffprior(*arguments, folder=place, stdin=data, cold=True)
    assert code == 0 and err == ""
    after = cv2.imdecode(np.frombuffer(out, np.uint8), cv2.IMREAD_UNCHANGED)
    lost = hole() > 0
    assert np.array_equal(after[~lost], read(place / "img.png")[~lost])


def test_samples_uncertainty_and_comparison(place):
    arguments = ("--samples", "3", "--uncertainty", "--compare", "--json", *FAST)
    code, out, err = diffprior("inpaint", "--mask", "m.png", "img.png", *arguments, folder=place)
    assert code == 0, err
    note = json.loads(out)
    paths = [place / p for p in note["outputs"].values()]
    assert [p.name for p in paths[:3]] == [f"img.inpainted-{k}.png" for k in (1, 2, 3)]
    drawn, lost = np.stack([read(p) for p in paths[:3]]).astype(float), hole() > 0
    assert (drawn.std(0)[lost] > 0).mean() > 0.9 and (drawn.std(0)[~lost] == 0).all()
    assert read(place / "img.inpainted.uncertainty.png").shape == (40, 52, 3)
    assert read(place / "img.inpainted.compare.png").shape == (40, 3 * 52, 3)
    assert note["samples"] == 3 and note["seed"] == 0


def test_nothing_is_overwritten(place):
    arguments = ("inpaint", "--mask", "m.png", "img.png", *FAST)
    assert diffprior(*arguments, folder=place)[0] == 0
    first = (place / "img.inpainted.png").read_bytes()
    code, _, err = diffprior(*arguments, "--seed", "1", folder=place)
    assert code == 1 and "--force" in err
    assert (place / "img.inpainted.png").read_bytes() == first
    assert diffprior(*arguments, "--force", folder=place)[0] == 0
    assert not list(place.glob("*.part*")) and len(list(place.iterdir())) == 3


def test_an_empty_mask_copies_and_a_full_one_is_refused(place):
    Image.new("L", (52, 40), 0).save(place / "black.png")
    Image.new("L", (52, 40), 255).save(place / "white.png")
    code, _, err = diffprior("inpaint", "--mask", "black.png", "img.png", folder=place)
    assert code == 0 and "nothing to do" in err
    assert np.array_equal(read(place / "img.inpainted.png"), read(place / "img.png"))
    arguments = ("--mask", "white.png", "img.png", "-o", "white.out.png")
    code, _, err = diffprior("inpaint", *arguments, folder=place)
    assert code == 1 and "generate" in err


BROKEN = {
    "missing.png": (None, "missing.png"),
    "text.png": (b"hello", "text.png"),
    "empty.png": (b"", "empty.png"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_images(place, name):
    data, said = BROKEN[name]
    if data is not None:
        (place / name).write_bytes(data)
    code, _, err = diffprior("inpaint", "--mask", "m.png", name, folder=place)
    assert code == 1 and said in err and len(err.splitlines()) == 1 and "Traceback" not in err


def test_truncated_and_explosive_images(place):
    data = (place / "img.png").read_bytes()
    (place / "half.png").write_bytes(data[: len(data) // 2])
    Image.new("1", (20000, 20000)).save(place / "bomb.png")
    (place / "folder").mkdir()
    for name in ("half.png", "bomb.png", "folder"):
        code, _, err = diffprior("inpaint", "--mask", "m.png", name, folder=place)
        assert code == 1 and name in err and len(err.splitlines()) == 1, err


WRONG = {
    "method": (("--method", "ddmn"), "ddnm"),
    "setting": (("--method", "ddnm(zeta=1)"), "start"),
    "prior": (("--prior", "nothing"), "photo"),
    "device": (("--device", "tpu"), "cuda"),
    "precision": (("--precision", "8"), "bfloat16"),
    "samples": (("--samples", "0"), "samples"),
    "sigma": (("--sigma", "-0.1"), "sigma"),
    "steps": (("--steps", "0"), "steps"),
    "option": (("--nonsense",), "nonsense"),
    "output": (("-o", "out.gif"), ".png"),
}


COLD = ("prior", "option")  # one that is refused after the heavy imports, and one before


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage(place, case):
    arguments, said = WRONG[case]
    words = ("inpaint", "--mask", "m.png", "img.png", *arguments)
    code, _, err = diffprior(*words, folder=place, cold=case in COLD)
    assert code == 2 and said in err and "Traceback" not in err, err
    assert not (place / "img.inpainted.png").exists()


def test_output_that_cannot_be_written(place):
    code, _, err = diffprior(
        "inpaint", "--mask", "m.png", "img.png", "-o", "no/such/folder.png", *FAST, folder=place
    )
    assert code == 1 and "no/such" in err and len(err.splitlines()) == 1


def test_generate(tmp_path):
    arguments = ("--width", "48", "--height", "32", "--samples", "2", "-o", "g.png", *FAST)
    code, _, err = diffprior("generate", *arguments, folder=tmp_path)
    assert code == 0, err
    one, two = read(tmp_path / "g-1.png"), read(tmp_path / "g-2.png")
    assert one.shape == (32, 48, 3) and (one != two).mean() > 0.5


@pytest.mark.parametrize("command", ["methods", "priors", "samplers", "tasks"])
def test_lists(command):
    code, out, err = diffprior(command, cold=True)
    assert code == 0, err
    expected = {"methods": "mmps", "priors": "photo", "samplers": "heun", "tasks": "inpaint"}
    lines = out.decode().splitlines()
    assert any(line.startswith(expected[command]) and len(line.split()) > 3 for line in lines)


def test_version():
    import diffprior as package

    code, out, err = diffprior("--version", cold=True)
    assert out.decode().strip() == f"diffprior {package.__version__}", (code, err)
