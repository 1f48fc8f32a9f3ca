"""Faults of the command line: names, folders, streams, signals, memory, limits."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.cli import work
from diffprior.cli.batch import Options, run
from diffprior.cli.process import describe

from support.shell import complaint
from support.shell import diffprior as shell

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
REAL_CALL = work.call


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with a folder of images."""
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(IMAGE).save(tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def denoise(*names, samples=1, **options):
    """Run a task as the command line does, here."""
    settings = {"sigma": 0.1, "samples": samples, "steps": 1, "method": "dpir(start=0.2)"}
    return run(diffprior.denoise, names, settings, Options(quiet=True, **options))


def said(capsys):
    """Return the lines of standard error, each short and printable."""
    lines = capsys.readouterr().err.splitlines()
    for line in lines:
        assert line.startswith("diffprior: ") and line.isprintable() and len(line) <= 311, line
    return [line.removeprefix("diffprior: ") for line in lines]


def results(folder):
    return sorted(name for name in os.listdir(folder) if "denoised" in name)


# Folders that are run twice


@pytest.mark.saw("a folder run twice filled with a.denoised.denoised.png")
def test_a_folder_does_not_take_its_own_results(place, capsys):
    Image.fromarray(IMAGE).save("in/d.jpg")
    options = {"samples": 2, "compare": True, "uncertainty": True}
    assert denoise("in", **options) == 0
    first = results("in")
    assert len(first) == 4 * 4 and not said(capsys)
    assert denoise("in", force=True, **options) == 0
    assert results("in") == first
    assert said(capsys) == [
        "in: 16 results of earlier runs are left out; give the name of a file to work on it"
    ]


@pytest.mark.saw("in/*.png took the results of another task, too")
def test_a_pattern_leaves_out_results_of_all_tasks(place, capsys):
    for name in ("a.upscaled.png", "a.inpainted-3.png", "b.edited.compare.png"):
        Image.fromarray(IMAGE).save(f"in/{name}")
    assert denoise("in/*.png", output="out/") == 0
    assert results("out") == ["a.denoised.png", "b.denoised.png", "c.denoised.png"]
    assert "3 results" in said(capsys)[0]


@pytest.mark.saw("a folder of results could not be worked on")
def test_a_result_without_its_source_is_an_image(place, capsys):
    os.rename("in/b.png", "in/x.denoised.png")
    os.rename("in/c.png", "in/a.denoised.jpg")
    assert denoise("in", output="out/") == 0
    assert len(results("out")) == 3 and not said(capsys)


@pytest.mark.saw("a result that was named was not worked on")
def test_a_result_that_is_named_is_worked_on(place, capsys):
    os.rename("in/b.png", "in/a.upscaled.png")
    assert denoise("in/a.upscaled.png", "in/a.png", output="out/") == 0
    assert denoise("in/*.upscaled.png", output="more/") == 0
    assert results("out") == ["a.denoised.png", "a.upscaled.denoised.png"]
    assert results("more") == ["a.upscaled.denoised.png"] and not said(capsys)


@pytest.mark.saw("a shell's *.png read a file that the same run had just overwritten")
def test_an_input_that_a_result_goes_to_is_left_out(place, capsys):
    os.rename("in/b.png", "in/a.denoised.png")
    assert denoise("in/a.denoised.png", "in/a.png", force=True) == 0
    assert results("in") == ["a.denoised.png"]
    assert said(capsys) == ["in/a.denoised.png is left out: the result of in/a.png goes there"]


@pytest.mark.saw("a run that was killed could not go on: what was done ended it")
def test_a_run_that_was_stopped_goes_on(place, capsys):
    assert denoise("in/a.png", output="out/") == 0
    before = os.stat("out/a.denoised.png")
    assert denoise("in", output="out/", skip_existing=True) == 0
    assert os.stat("out/a.denoised.png") == before
    assert len(results("out")) == 3 and said(capsys) == ["1 file is done already"]
    assert denoise("in", output="out/") == 1
    lines = said(capsys)
    assert len(lines) == 3 and all("--force" in x and "--skip-existing" in x for x in lines)
    assert denoise("in", output="out/", force=True, skip_existing=True) == 2


@pytest.mark.saw("a run that was killed between two samples left the second one out for good")
def test_a_sample_that_is_missing_is_made(place, capsys):
    assert denoise("in/a.png", samples=3) == 0
    wanted = Path("in/a.denoised-2.png").read_bytes()
    os.unlink("in/a.denoised-2.png")
    assert denoise("in/a.png", samples=3, skip_existing=True) == 0
    with Image.open("in/a.denoised-2.png") as image:
        made = np.asarray(image)
    Path("old.png").write_bytes(wanted)
    with Image.open("old.png") as image:
        assert np.array_equal(made, image)


# Names


@pytest.mark.saw("a.jpg beside a.png ended the run of a whole folder")
def test_one_stem_ends_nothing(place, capsys):
    Image.fromarray(IMAGE).save("in/a.jpg")
    assert denoise("in", output="out/") == 0
    assert not said(capsys)
    assert results("out") == [
        *("a.jpg.denoised.png", "a.png.denoised.png", "b.denoised.png", "c.denoised.png")
    ]


@pytest.mark.saw("images of the same name in two folders could not be done in one run")
def test_one_name_in_two_folders_ends_nothing(place, capsys):
    os.mkdir("on")
    Image.fromarray(IMAGE).save("on/A.png")
    assert denoise("in", "on", output="out/") == 0
    assert not said(capsys)
    assert {"in-a.denoised.png", "on-A.denoised.png"} < set(results("out"))


@pytest.mark.saw("of two inputs with one name for their results, both and all others failed")
def test_what_cannot_be_told_apart_fails_alone(place, capsys):
    os.makedirs("x/in")
    Image.fromarray(IMAGE).save("x/in/a.png")
    assert denoise("in", "x/in", output="out/") == 1
    assert said(capsys) == ["x/in/a.png: its result would replace that of in/a.png"]
    assert len(results("out")) == 3


@pytest.mark.saw("two names of one result file: the second overwrote the first with --force")
def test_no_result_of_a_run_replaces_another(place, capsys):
    os.mkdir("real")
    os.symlink("real", "also")
    os.rename("in/a.png", "real/a.png")
    os.symlink("../in/b.png", "real/b.png")
    assert denoise("real/a.png", "also/a.png", force=True) == 1
    (line,) = said(capsys)
    assert line.endswith("is the result of another input of this run")


@pytest.mark.saw("a picture whose name is not UTF-8 could not be worked on")
def test_a_name_that_is_no_text(place, capsys):
    name = os.fsdecode(b"caf\xe9.png")
    os.rename("in/a.png", name)
    assert denoise(name, json=True) == 0
    out = capsys.readouterr().out
    note = json.loads(out)
    assert note["input"] == r"caf\xe9.png" and note["outputs"]["0"] == r"caf\xe9.denoised.png"
    note["input"].encode()
    with Image.open(os.fsencode("caf\udce9.denoised.png")) as image:
        json.loads(image.text["diffprior"])


HOSTILE = ["a\x1b[2J.png", "a\nb.png", "gnp.\u202egnp.png", "[red].png", "-q.png", " .png"]


@pytest.mark.saw("the name of a file cleared the terminal")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_escaped(place, capsys, name):
    Path("in", name).write_bytes(b"no image")
    assert denoise("in", output="out/") == 1
    (line,) = said(capsys)
    assert r"\x1b" in line or r"\n" in line or r"\u202e" in line or name in line
    assert len(results("out")) == 3


@pytest.mark.saw("a name of 250 bytes ended the run, after the work was done")
def test_a_name_that_is_too_long_fails_alone(place, capsys, monkeypatch):
    os.rename("in/a.png", f"in/{'a' * 250}.png")
    assert denoise("in", "y" * 5000, output="out/") == 1
    lines = said(capsys)
    assert len(lines) == 2 and "too long" in lines[0]
    assert "the name of its result has 263 bytes, and a file may have 255" in lines[1]
    assert len(results("out")) == 2


# Any error ends its file alone

ERRORS = {
    "memory": (MemoryError(), "not enough memory"),
    "torch": (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 786432000000 bytes. Error code 12 (Cannot allocate "
            "memory)"
        ),
        "not enough memory",
    ),
    "cuda": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "not enough memory"),
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    "name": (FileNotFoundError(2, "No such file", "x\x1b.png"), r"x\x1b.png: No such file"),
    "recursion": (RecursionError("maximum recursion depth exceeded"), "RecursionError: maximum"),
    "key": (KeyError("weights"), "KeyError: 'weights'"),
    "none": (AttributeError(), "AttributeError"),
    "syntax": (SyntaxError("not a TIFF file"), "SyntaxError: not a TIFF file"),
    "assertion": (AssertionError(), "AssertionError"),
    "text": (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "bad"), "UnicodeDecodeError"),
    "value": (ValueError("a kernel is odd"), "b.png: a kernel is odd"),
    "lines": (RuntimeError("one\n  two\x1b[1m\n" + "x" * 5000), "one two"),
}


@pytest.mark.saw("an error in one file ended the run with a traceback: the others were not done")
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_ends_its_file_alone(place, capsys, monkeypatch, case):
    error, expected = ERRORS[case]

    def call(function, file, values, callback):
        if file.name.endswith("b.png"):
            raise error
        return REAL_CALL(function, file, values, callback)

    monkeypatch.setattr(work, "call", call)
    assert denoise("in", output="out/") == 1
    (line,) = said(capsys)
    assert expected in line and line.startswith("in/b.png: ") and "alloc_cpu" not in line
    assert results("out") == ["a.denoised.png", "c.denoised.png"]


@pytest.mark.saw("there was no way to see where an error came from")
def test_a_variable_shows_where_an_error_came_from(capsys, monkeypatch):
    monkeypatch.setenv("DIFFPRIOR_DEBUG", "1")
    try:
        raise KeyError("weights")
    except KeyError as error:
        describe(error)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.saw("a setting that did not fit one picture ended the run of all")
def test_a_setting_is_refused_once_and_the_others_are_tried(place, capsys, monkeypatch):
    def call(function, file, values, callback):
        if "b" not in file.name:
            raise diffprior.errors.SettingError("the kernel is wider than the image")
        return REAL_CALL(function, file, values, callback)

    monkeypatch.setattr(work, "call", call)
    assert denoise("in", output="out/") == 1
    assert said(capsys) == ["the kernel is wider than the image"]
    assert results("out") == ["b.denoised.png"]


@pytest.mark.saw("a folder that may not be listed ended the run with a traceback")
@pytest.mark.parametrize("call", ["iterdir", "is_dir", "exists"])
def test_an_unreadable_folder_fails_alone(place, capsys, monkeypatch, call):
    real = getattr(Path, call)

    def refuse(path, *rest):
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest)

    os.mkdir("closed")
    monkeypatch.setattr(Path, call, refuse)
    assert denoise("closed", "in/a.png", output="out/") == 1
    (line,) = said(capsys)
    assert line.startswith("closed: ") and ("Permission denied" in line or "no image" in line)
    assert results("out") == ["a.denoised.png"]


@pytest.mark.saw("in a working folder that was deleted every command ended with a traceback")
def test_a_deleted_working_folder(place, capsys, monkeypatch):
    os.mkdir("gone")
    monkeypatch.chdir("gone")
    os.rmdir(place / "gone")
    assert denoise(str(place / "in/a.png"), "b.png", output=f"{place}/out/") == 1
    assert results(place / "out") == ["a.denoised.png"] and len(said(capsys)) == 1


@pytest.mark.saw("in a working folder that was deleted torch ended the process")
def test_a_command_in_a_deleted_working_folder(tmp_path):
    script = 'mkdir gone && cd gone && rmdir ../gone && "$0" -m diffprior'
    for words, code in (("denoise a.png", 1), ("bench d o --method dps", 1), ("methods", 0)):
        call = ["bash", "-c", f"{script} {words}", sys.executable]
        env = os.environ | {"PYTHONPATH": str(Path(diffprior.__file__).parents[1])}
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, env=env, timeout=100)
        assert done.returncode == code, done.stderr
        assert not code or complaint(done) == "the working folder is gone; go to another one"


@pytest.mark.saw("a disk that was full ended the run with a traceback")
def test_a_full_disk_fails_file_by_file(place, capsys):
    """A limit of the size of files stands in for the end of the disk."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    os.mkdir("out")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        code = denoise("in", output="out/")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert code == 1 and not os.listdir("out")
    lines = said(capsys)
    assert len(lines) == 3 and all("cannot be written" in line for line in lines)


@pytest.mark.saw("hours of work went into a folder that could not be written to")
def test_a_place_beside_the_input_is_checked_before_work(place, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "in")
    monkeypatch.setattr(work, "call", lambda *_: pytest.fail("it was worked on"))
    assert denoise("in") == 1
    lines = said(capsys)
    assert len(lines) == 3 and all("no folder that can be written to" in line for line in lines)


# Limits


@pytest.mark.saw("--samples of 23 digits laid out names until the memory was full")
@pytest.mark.parametrize("count", [10**23, 10_001, 0, -1])
def test_samples_are_bounded(place, capsys, count):
    start = time.perf_counter()
    assert denoise("in", samples=count) == 2
    assert time.perf_counter() - start < 1
    assert said(capsys) == [f"samples are a whole number from 1 to 10000, got {count}"]


LARGE = {
    "upscale": (diffprior.super_resolve, {"scale": 1000}, "20000 x 16000 pixels is too large"),
    "huge": (diffprior.super_resolve, {"scale": 10**24}, "over a billion x over a billion"),
    "generate": (diffprior.generate, {"width": 10**6, "height": 10**6}, "178 megapixels"),
    "tall": (diffprior.generate, {"height": 10**24}, "178 megapixels"),
    "samples": (diffprior.super_resolve, {"scale": 60, "samples": 9999}, "which is 1242 samples"),
}


@pytest.mark.saw("a small picture enlarged 1000 times filled the memory, in torch's words")
@pytest.mark.parametrize("case", LARGE)
def test_results_are_bounded(place, capsys, case):
    function, settings, expected = LARGE[case]
    names = ["in/a.png"] if function.task.input else None
    output = "out/" if settings.get("samples") else "o.png"
    assert run(function, names, settings, Options(quiet=True, output=output)) == 1
    (line,) = said(capsys)
    assert expected in line


@pytest.mark.saw("a text nested a hundred times ended with a traceback")
@pytest.mark.parametrize(
    "text, expected",
    [
        ("dpir(" + "a=dpir(" * 40 + ")" * 41, "a text is nested 30 times at most"),
        ("dpir(a='" + "x" * 5000 + "')", "a text has 4000 characters at most, got 5010"),
        ("-" * 3900 + "1", "write a name, or name(setting=value)"),
        ("caf\udce9", r"cannot read 'caf\udce9'"),
        ("dpir(steps=2000000)", "from 1 to 1000000, got 2000000"),
        ("dpir(start=1e999)", "got inf"),
        (f"dpir(steps={10**30})", "below 2^63"),
    ],
)
def test_texts_of_methods_are_bounded(place, capsys, text, expected):
    settings = {"sigma": 0.1, "method": text}
    assert run(diffprior.denoise, ["in/a.png"], settings, Options(quiet=True)) == 2
    (line,) = said(capsys)
    assert expected in line


@pytest.mark.saw("a kernel of 100000 pixels filled the memory")
@pytest.mark.parametrize(
    "kernel",
    [
        *("gaussian:100000", "uniform:99999", "motion:1.e9,3", "motion:9.e999", "shake:5000"),
        *("anisotropic:1,1,0,9999", f"uniform:{10**30}", "motion:5,1.e999", "x" * 5000),
    ],
)
def test_kernels_are_bounded(place, capsys, kernel):
    settings = {"kernel": kernel, "sigma": 0.1, "steps": 1}
    assert run(diffprior.deblur, ["in/a.png"], settings, Options(quiet=True)) in (1, 2)
    (line,) = said(capsys)
    assert "2047" in line or "kernel" in line or "255" in line


# Streams

LISTS = ["methods", "priors", "recipes", "--version", "tasks"]
STREAM = {"closed": ">&-", "full": "> /dev/full", "read-only": "1< /dev/null"}


def piped(words, shape, folder):
    """Run a command line in a shell that shapes its streams; return code, output and errors."""
    call = ["bash", "-c", f'"$0" -m diffprior "$@" {shape}', sys.executable, *words]
    return subprocess.run(call, cwd=folder, capture_output=True, timeout=100)


@pytest.mark.saw("a list with standard output closed or full ended with a traceback")
@pytest.mark.parametrize("words, shape", [*zip(LISTS, [*STREAM, "closed", "full"], strict=True)])
def test_a_list_without_standard_output(tmp_path, words, shape):
    done = piped([words], STREAM[shape], tmp_path)
    assert done.returncode == 1
    assert "standard output" in complaint(done)


@pytest.mark.saw("diffprior methods | head -1 ended with a traceback")
def test_a_reader_that_has_enough_is_no_error(tmp_path):
    done = piped(["methods"], "| head -1", tmp_path)
    assert done.stdout.startswith(b"ald") and not done.stderr


@pytest.mark.saw("with standard error closed, what was said went into the picture")
def test_standard_error_closed_leaves_the_picture_alone(place):
    words = ["denoise", "--sigma", "0.9", "in/a.png", "-o", "-", "--steps", "1"]
    done = piped(words, "2>&-", place)
    assert done.returncode == 0
    Path("o.png").write_bytes(done.stdout)
    with Image.open("o.png") as image:
        assert image.size == (20, 16)
        image.load()
    done = piped(["denoise", "in/missing.png"], "2>&-", place)
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.saw("all three streams closed ended with a traceback")
def test_all_streams_closed(tmp_path):
    assert piped(["methods"], "<&- >&- 2>&-", tmp_path).returncode == 1
    assert piped(["nothing"], "<&- >&- 2>&-", tmp_path).returncode == 2


@pytest.mark.saw("standard error on a full disk ended the run with a traceback")
def test_standard_error_that_is_full(place):
    done = piped(["nothing"], "2> /dev/full", place)
    assert (done.returncode, done.stdout) == (2, b"")
    done = piped(["denoise", "in/a.png", "--sigma", "0.9"], "2> /dev/full", place)
    assert done.returncode == 0 and results("in") == ["a.denoised.png"]


# Signals


def hear() -> None:
    """Let a process be interrupted, though a shell runs the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.saw("Ctrl-C while weights were loaded ended with a traceback of an import")
@pytest.mark.parametrize(
    "number, code, word, seconds",
    [
        (signal.SIGINT, 130, "interrupted", 0.5),
        (signal.SIGINT, 130, "interrupted", 1.2),
        (signal.SIGTERM, 143, "terminated", 1.6),
    ],
)
def test_a_signal_ends_a_run_in_one_line(place, number, code, word, seconds):
    Image.fromarray(np.tile(IMAGE, (32, 32, 1))).save("in/large.png")
    words = ["denoise", "in/large.png", "--sigma", "0.1", "--steps", "100", "-o", "o.png"]
    process = subprocess.Popen(
        [sys.executable, "-m", "diffprior", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        preexec_fn=hear,
    )
    time.sleep(seconds)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, errors.decode()) == (code, f"diffprior: {word}\n")
    assert sorted(os.listdir()) == ["in"]


@pytest.mark.saw("a library that catches every exception made an interrupt into a failed file")
def test_an_interrupt_that_a_library_swallows_is_one(tmp_path):
    script = (
        "import os, signal\n"
        "from diffprior.cli import process\n"
        "def work():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except BaseException:\n"
        "        raise ImportError('a module is half loaded')\n"
        "process.run(work)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, preexec_fn=hear)
    assert (done.returncode, done.stderr) == (130, b"diffprior: interrupted\n")


# Usage


@pytest.mark.saw("wrong usage drew a box of many lines, as long as what was typed")
@pytest.mark.parametrize(
    "words, expected",
    [
        (["inpiant"], "No such command 'inpiant'. Did you mean 'inpaint'?"),
        (["inpaint", "--maks", "m.png", "a.png"], "--mask"),
        (["denoise", "a.png", "--sigma"], "requires an argument"),
        (["denoise", "a.png", "--steps", "x" * 5000], "--steps"),
        (["denoise", "a.png", "--steps", "nan"], "--steps"),
        (["upscale", "a.png", "--scale", "\x1b[31m"], "--scale"),
        (["denoise"], "FILE"),
        (["--nonsense"], "--nonsense"),
        (["x" * 5000], "No such command"),
        (["methods", "more"], "more"),
    ],
)
def test_wrong_usage_is_one_sentence(tmp_path, words, expected):
    done = shell(*words, folder=tmp_path)
    assert done.returncode == 2 and not done.stdout
    sentence = complaint(done)
    assert expected in sentence and sentence.isprintable()
    assert sentence.endswith("--help)")
