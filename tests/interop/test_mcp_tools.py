"""The tools of assistants: the folder that they keep to, and the protocol by the SDK's client."""

import base64
import json
import os
import shlex
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffprior.errors import DiffpriorError, ImageError, SettingError

from support import command, shell

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

import anyio
import jsonschema
from mcp import Client, StdioServerParameters

from diffprior.cli import index
from diffprior.interop.toolbox import Toolbox

ROOT = Path(__file__).parents[2]
ENV = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def nothing(x: Any, share: float) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a photo and a mask, a file outside of it, and links that lead there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    place = tmp_path / "place"
    place.mkdir()
    photo = Image.open(ROOT / "data" / "samples" / "dog.png").convert("RGB").resize((64, 48))
    photo.save(place / "photo.png")
    photo.save(outside / "secret.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 30:40] = 255
    Image.fromarray(mask).save(place / "mask.png")
    (place / "link.png").symlink_to(outside / "secret.png")
    (place / "door").symlink_to(outside)
    return place


@pytest.fixture
def tools(folder: Path) -> Callable[..., Any]:
    box = Toolbox(root=folder.resolve())
    return lambda name, **arguments: box.call(name, arguments, nothing)


# The tools


def test_every_task_is_a_tool_with_its_settings(folder: Path) -> None:
    box = Toolbox(root=folder)
    commands = {n: c for n, c in index.commands().items() if c.options is not None}
    masks = {f"mask_{kind}" for kind in ("scratches", "text", "color", "difference")}
    assert set(box.tools) == {*commands, *masks}
    for name, tool in box.tools.items():
        jsonschema.Draft202012Validator.check_schema(tool.schema)
        assert tool.description and tool.schema["additionalProperties"] is False
        for text in tool.schema["properties"].values():
            assert "id of an image" not in text.get("description", "")
        if name in commands:
            assert tool.description == commands[name].help
            own = {o.name for o in commands[name].options}
            known = set(tool.schema["properties"])
            assert own - known == own & {
                *("prior", "device", "dtype", "backend"),
                *("lora", "lora_scale", "controlnet", "offload"),
            }


def test_a_result_is_that_of_the_command_line_beside_the_input(
    folder: Path,
    tools: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hole = {"mask": "mask.png", "fill": "smooth", "seed": 3, "steps": 2}
    answer = tools("inpaint", image="photo.png", **hole)
    assert answer.outputs == ["photo.inpainted.png"] and "seed 3" in answer.line
    assert answer.picture.size == (64, 48)
    mine = (folder / "photo.inpainted.png").rename(folder / "mine.png")
    words = ["inpaint", folder / "photo.png", "--mask", folder / "mask.png", "--fill", "smooth"]
    assert command.run(monkeypatch, capsys, *words, "--seed", 3, "--steps", 2).code == 0
    theirs = Image.open(folder / "photo.inpainted.png")
    assert (np.asarray(Image.open(mine)) == np.asarray(theirs)).all()


def test_a_setting_of_several_images_is_a_name_or_a_list(
    folder: Path, tools: Callable[..., Any]
) -> None:
    hole = {"image": "photo.png", "mask": "mask.png", "fill": "structure"}
    for k, names in enumerate(("photo.png", ["photo.png", "mask.png"])):
        tools("inpaint", **hole, reference=names, output=f"{k}.png")
        assert (folder / f"{k}.png").is_file()
    with pytest.raises(SettingError, match="reference link.png is outside of the folder"):
        tools("inpaint", **hole, reference=["photo.png", "link.png"])


def test_several_samples_and_their_deviation_are_files(
    folder: Path, tools: Callable[..., Any]
) -> None:
    answer = tools(
        "denoise", image="photo.png", sigma=0.1, samples=2, steps=2, uncertainty=True, output="new/"
    )
    assert answer.outputs == [
        "new/photo.denoised-1.png",
        "new/photo.denoised-2.png",
        "new/photo.denoised.uncertainty.png",
    ]
    assert all((folder / name).is_file() for name in answer.outputs)


def test_a_mask_tool_writes_a_mask(folder: Path, tools: Callable[..., Any]) -> None:
    image = np.array(Image.open(folder / "photo.png"))
    image[5:15, 5:25] = (255, 0, 0)
    Image.fromarray(image).save(folder / "painted.png")
    answer = tools("mask_color", image="painted.png", color="red", dilate=0)
    assert answer.outputs == ["painted.mask.png"]
    mask = np.asarray(Image.open(folder / "painted.mask.png")) == 255
    assert mask[5:15, 5:25].all() and mask.sum() == 200
    assert f"{answer.report['share']:.2%}" in answer.line
    answer = tools("mask_difference", image="photo.png", other="painted.png")
    mask = np.asarray(Image.open(folder / "photo.mask.png")) == 255
    assert mask[5:15, 5:25].all() and mask.sum() == 200


def test_a_task_without_an_image_writes_into_the_folder(
    folder: Path, tools: Callable[..., Any]
) -> None:
    answer = tools("generate", width=32, height=32, steps=2)
    assert (folder / answer.outputs[0]).is_file()


# The folder


@pytest.mark.parametrize(
    "name",
    ["../outside/secret.png", "link.png", "door/secret.png", "/etc/hostname", "a/../../x.png"],
)
def test_nothing_outside_is_read(tools: Callable[..., Any], name: str) -> None:
    for arguments in (
        {"image": name},
        {"image": "photo.png", "control_image": name},
    ):
        with pytest.raises(SettingError, match="is outside of the folder"):
            tools("denoise", **arguments)
    with pytest.raises(SettingError, match="is outside of the folder"):
        tools("inpaint", image="photo.png", mask=name)
    with pytest.raises(SettingError, match="is outside of the folder"):
        tools("mask_difference", image="photo.png", other=name)


@pytest.mark.parametrize("name", ["../outside/new.png", "door/new.png", "door/", "../new/"])
def test_nothing_outside_is_written(folder: Path, tools: Callable[..., Any], name: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(SettingError, match="is outside of the folder"):
        tools("denoise", image="photo.png", sigma=0.1, output=name)
    assert sorted(folder.parent.rglob("*")) == before


def test_a_result_does_not_go_through_a_link(folder: Path, tools: Callable[..., Any]) -> None:
    """A link that leads nowhere yet would be followed by a program that only asks what exists."""
    (folder / "photo.denoised.png").symlink_to(folder.parent / "outside" / "new.png")
    with pytest.raises(SettingError, match="is outside of the folder"):
        tools("denoise", image="photo.png", sigma=0.1)
    assert not (folder.parent / "outside" / "new.png").exists()


def test_texts_name_no_file_outside(folder: Path, tools: Callable[..., Any]) -> None:
    secret = str(folder.parent / "outside" / "kernel.npy")
    np.save(secret, np.full((3, 3), 1 / 9, np.float32))
    for arguments in ({"kernel": secret}, {"kernel": "../outside/kernel.npy"}):
        with pytest.raises(SettingError, match="is outside of the folder"):
            tools("deblur", image="photo.png", **arguments)
    with pytest.raises(SettingError, match="cannot name a file"):
        tools("denoise", image="photo.png", method=f"dpir(x='{secret}')")
    np.save(folder / "kernel.npy", np.full((3, 3), 1 / 9, np.float32))
    answer = tools("deblur", image="photo.png", kernel="kernel.npy", steps=2)
    assert answer.outputs == ["photo.deblurred.png"]


def test_nothing_is_overwritten(folder: Path, tools: Callable[..., Any]) -> None:
    (folder / "photo.denoised.png").write_bytes(b"mine")
    for arguments in ({}, {"output": "photo.png"}, {"output": "mask.png"}):
        held = {p: p.read_bytes() for p in folder.glob("*.png")}
        with pytest.raises(ImageError, match=r"exists; give another name as output"):
            tools("denoise", image="photo.png", sigma=0.1, **arguments)
        assert {p: p.read_bytes() for p in folder.glob("*.png")} == held


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("denoise", {}, "'image' is a required property"),
        ("denoise", {"image": "no.png"}, "image no.png is no file in the folder"),
        ("denoise", {"image": "."}, "image . is no file in the folder"),
        ("inpaint", {"image": "photo.png", "mask": "no.png"}, "mask no.png is no file"),
        ("denoise", {"image": "photo.png", "prior": "x"}, "'prior' was unexpected"),
        ("denoise", {"image": "photo.png", "samples": 0}, "samples: 0 is less than the minimum"),
        ("denoise", {"image": "photo.png", "seed": "one"}, "seed: 'one' is not of type 'integer'"),
        ("denoise", {"image": "photo.png", "sigma": "much"}, "sigma"),
        ("inpaint", {"image": "photo.png", "fill": "magic"}, "fill: 'magic' is not one of"),
        ("denoise", {"image": "photo.png", "output": "a.txt"}, "a.txt is no file of this kind"),
        ("denoise", {"image": "a\0b"}, "is no name of a file"),
        ("mask_color", {"image": "photo.png"}, "'color' is a required property"),
        ("erase", {}, "there is no tool 'erase'"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    tools: Callable[..., Any], name: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(DiffpriorError) as caught:
        tools(name, **arguments)
    assert words in str(caught.value) and len(str(caught.value)) < 300


# The protocol, with the client of the SDK and a process of its own


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a client got, of one process."""
    folder = tmp_path_factory.mktemp("mcp")
    photo = Image.open(ROOT / "data" / "samples" / "dog.png").convert("RGB")
    photo.resize((48, 32)).save(folder / "photo.png")
    photo.resize((160, 160)).save(folder / "large.png")
    started = shlex.join([sys.executable, "-m", "diffprior", "mcp", "--folder", str(folder)])
    log = {name: tmp_path_factory.mktemp("log") / name for name in ("out", "err")}
    script = f"{started} 2> {log['err']} | tee {log['out']}"
    process = StdioServerParameters(command="bash", args=["-c", script], env=ENV)
    seen: dict[str, Any] = {"folder": folder, "log": log, "shares": []}

    async def progress(share: float, total: float | None, message: str | None) -> None:
        seen["shares"].append((share, total))

    async def talk() -> None:
        async with Client(process) as client:
            seen["server"] = client.server_info
            seen["tools"] = (await client.list_tools()).tools
            chain = {"image": "photo.png", "sigma": 0.1, "method": "mmps", "steps": 4}
            seen["done"] = await client.call_tool("denoise", chain, progress_callback=progress)
            seen["again"] = await client.call_tool("denoise", chain)
            with anyio.move_on_after(1):
                long = {"image": "large.png", "sigma": 0.1, "method": "mmps", "steps": 500}
                await client.call_tool("denoise", long)
            with anyio.fail_after(30):
                seen["after"] = await client.call_tool("mask_scratches", {"image": "photo.png"})

    anyio.run(talk)
    return seen


def test_a_client_sees_the_tools(session: dict[str, Any]) -> None:
    assert session["server"].name == "diffprior"
    tools = {tool.name: tool for tool in session["tools"]}
    assert {"inpaint", "restore", "mask_text"} <= set(tools)
    assert tools["inpaint"].input_schema["properties"]["fill"]["enum"][0] == "auto"
    assert tools["inpaint"].annotations.destructive_hint is False


def test_a_client_gets_the_file_the_report_and_a_picture(session: dict[str, Any]) -> None:
    done = session["done"]
    said, picture, report = done.content
    assert not done.is_error
    assert said.text.startswith("wrote photo.denoised.png\ndenoise · MMPS")
    assert json.loads(report.text)["prior"] == "photo"
    shown = Image.open(BytesIO(base64.b64decode(picture.data)))
    assert picture.mime_type == f"image/{shown.format.lower()}" and shown.size == (48, 32)
    written = Image.open(session["folder"] / "photo.denoised.png")
    away = np.asarray(shown.convert("RGB"), float) - np.asarray(written, float)
    assert abs(away).mean() < 4


def test_a_client_hears_of_progress(session: dict[str, Any]) -> None:
    shares = [share for share, total in session["shares"]]
    assert shares == sorted(shares) and shares[-1] == 1
    assert {total for _, total in session["shares"]} == {1.0}


def test_an_error_is_an_answer(session: dict[str, Any]) -> None:
    assert session["again"].is_error
    assert session["again"].content[0].text == (
        "photo.denoised.png exists; give another name as output"
    )


def test_a_call_that_is_canceled_ends_and_writes_nothing(session: dict[str, Any]) -> None:
    assert not session["after"].is_error
    assert not (session["folder"] / "large.denoised.png").exists()


def test_nothing_but_the_protocol_is_on_standard_output(session: dict[str, Any]) -> None:
    out, err = (session["log"][name].read_text() for name in ("out", "err"))
    messages = [json.loads(line) for line in out.splitlines()]
    assert len(messages) > 5 and {message["jsonrpc"] for message in messages} == {"2.0"}
    assert "Traceback" not in err


def test_it_ends_well_when_the_assistant_goes(tmp_path: Path) -> None:
    done = shell.diffprior("mcp", folder=tmp_path)  # whose standard input is empty
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_folder_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    done = shell.diffprior("mcp", "--folder", "nowhere", folder=tmp_path)
    assert done.returncode == 2 and "is a folder that exists" in shell.complaint(done)


def test_without_the_extra_it_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ImportError('no mcp', name='mcp')\n")
    done = shell.diffprior("mcp", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert shell.complaint(done) == "mcp needs the extra mcp: pip install 'diffprior[mcp]'"
