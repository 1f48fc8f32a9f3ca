"""Names of results: told apart, and never taken for inputs."""

from pathlib import Path

import pytest

from diffprior.cli.naming import is_result, result_stems
from diffprior.cli.outputs import Options, plan_outputs
from diffprior.errors import SettingError

WORDS = ("denoised", "upscaled")


def stems(*names: str, folder: str | None = None) -> list[str]:
    paths = [Path(name) for name in names]
    found = result_stems(paths, None if folder is None else Path(folder))
    return [found[path] for path in paths]


def test_a_name_is_the_stem_where_that_is_enough() -> None:
    assert stems("a.jpg", "b.png", "c.tar.png") == ["a", "b", "c.tar"]
    assert stems("x/a.png", "y/a.png") == ["a", "a"]  # each beside its input


def test_one_stem_keeps_the_suffixes() -> None:
    assert stems("a.jpg", "a.png", "b.png") == ["a.jpg", "a.png", "b"]
    assert stems("a.png", "a.PNG") == ["a.png", "a.PNG"]


def test_one_name_in_one_folder_keeps_the_folders() -> None:
    assert stems("x/a.png", "y/a.png", folder="o") == ["x-a", "y-a"]
    assert stems("x/a.png", "y/a.png", "y/a.jpg", folder="o") == ["x-a.png", "y-a.png", "y-a.jpg"]


def test_case_alone_tells_names_apart_only_where_nothing_else_does() -> None:
    assert stems("x/A.png", "y/a.png", folder="o") == ["x-A", "y-a"]
    assert stems("A.png", "a.png") == ["A", "a"]


@pytest.mark.parametrize(
    "name",
    [
        *("a.denoised.png", "a.upscaled.png", "a.denoised-12.png", "a.denoised.compare.png"),
        *("a.denoised.uncertainty.png", "a.jpg.denoised.png", "b.denoised.upscaled.png"),
    ],
)
def test_a_result_stands_beside_its_image(name: str) -> None:
    beside = {"a", "a.jpg", "b.denoised"}
    assert is_result(name, WORDS, beside)
    assert not is_result(name, WORDS, {"other"})


@pytest.mark.parametrize(
    "name",
    [
        *("a.png", "denoised.png", ".denoised.png", "a.denoised.jpg", "a.sharpened.png"),
        *("a-denoised.png", "a.denoised-x.png", "a.denoised.mask.png", "a.denoised.png.bak"),
    ],
)
def test_a_file_of_a_person_is_none(name: str) -> None:
    assert not is_result(name, WORDS, {"a", ""})


def test_for_several_images_a_name_without_a_suffix_is_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, b = Path("a.png"), Path("b.png")
    plan = plan_outputs([a, b], "denoised.png", [".png"], 1, Options(output="out"))
    written = [targets[0] for targets in plan.targets.values()]
    assert written == [Path("out/a.denoised.png"), Path("out/b.denoised.png")]
    assert Path("out").is_dir()
    for sources, output in (([a, b], "x.png"), ([a, b], "-"), ([a], "new")):
        with pytest.raises(SettingError, match="folder"):
            plan_outputs(sources, "denoised.png", [".png"], 1, Options(output=output))
