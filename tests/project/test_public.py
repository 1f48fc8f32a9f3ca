"""The public door: what ``import diffprior`` offers, with its types."""

import importlib
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import diffprior
from diffprior import catalog, errors

ROOT = Path(__file__).parents[2]
TASKS = catalog.functions()
KINDS = [kind for kind in catalog.KINDS if kind != "tasks"]


def test_everything_public_is_listed_and_loads() -> None:
    names = dir(diffprior)
    assert {*TASKS, "upscale", "load_prior", "Result", "DiffpriorError"} <= set(names)
    assert {"methods", "operators", "samplers", "priors", "io", "catalog"} <= set(names)
    assert sorted(diffprior.__all__) == names
    for name in names:
        assert getattr(diffprior, name) is not None
    assert diffprior.upscale is diffprior.super_resolve
    assert diffprior.DiffpriorError is errors.DiffpriorError


def test_importing_the_package_imports_no_module_that_computes() -> None:
    code = "import sys, diffprior, diffprior.methods; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in catalog.names(kind)]
)
def test_a_package_exports_the_classes_of_its_registry(kind: str, name: str) -> None:
    package = importlib.import_module(f"diffprior.{kind}")
    thing = catalog.find(name, (kind,))
    assert thing.__name__ in dir(package) and getattr(package, thing.__name__) is thing


@pytest.mark.parametrize(
    "package",
    [*KINDS, "classical", "editing", "evaluation", "io", "likelihoods", "networks"]
    + ["operators.generators", "pretrained", "runtime", "training"],
)
def test_every_name_that_a_package_exports_resolves(package: str) -> None:
    module = importlib.import_module(f"diffprior.{package}")
    assert dir(module)
    for name in dir(module):
        assert getattr(module, name) is not None


def test_errors_stand_beside_what_raises_them() -> None:
    from diffprior.io import ImageError
    from diffprior.pretrained import PriorError

    assert ImageError is errors.ImageError and PriorError is errors.PriorError


@pytest.fixture(scope="module")
def script() -> typing.Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("generate_index")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def test_the_generated_files_are_up_to_date(script: typing.Any) -> None:
    """Run scripts/generate_index.py where this fails."""
    for path, text in script.generated().items():
        assert path.read_text() == text, path


def test_the_stub_has_the_parameters_of_every_task(script: typing.Any) -> None:
    """Read back by Python itself, so that the generator cannot err unseen."""
    source = (ROOT / "diffprior" / "__init__.pyi").read_text()
    package = {"__name__": "diffprior", "__package__": "diffprior", "__path__": diffprior.__path__}
    exec(compile(source, "__init__.pyi", "exec"), package)
    for name, function in TASKS.items():
        stub = inspect.signature(package[name])
        result = typing.get_origin(stub.return_annotation) or stub.return_annotation
        assert issubclass(result, inspect.signature(function).return_annotation)
        for parameter in inspect.signature(function).parameters.values():
            own = stub.parameters[parameter.name]
            assert own.kind == parameter.kind
            assert own.default == parameter.default
        assert inspect.getdoc(package[name]) == inspect.getdoc(function)


def test_a_type_checker_sees_the_types(tmp_path: Path) -> None:
    file = tmp_path / "user.py"
    file.write_text(
        "import diffprior\n"
        "from diffprior.methods import MMPS\n"
        "from diffprior.operators import Blur\n"
        "from diffprior.priors import MixturePrior\n"
        "reveal_type(diffprior.inpaint)\n"
        "from PIL import Image\n"
        "reveal_type(diffprior.upscale(Image.new('L', (8, 8))).samples)\n"
        "reveal_type(diffprior.invert(Image.new('L', (8, 8))).trajectory)\n"
        "reveal_type(MMPS().iterations)\n"
        "diffprior.inpaint(Image.new('L', (8, 8)), masks=1)\n"
        "diffprior.inpiant\n"
    )
    call = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(file)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    lines = [line.partition("user.py:")[2] for line in done.stdout.splitlines()]
    assert "image: _T" in lines[0] and "samples: int =" in lines[0], done
    assert lines[0].endswith('-> diffprior.runtime.results.Result[_T]"')
    assert lines[1].endswith('"list[PIL.Image.Image]"')
    assert lines[2].endswith('"diffprior.editing.trajectory.Trajectory"')
    assert lines[3].endswith('"int"')
    assert 'Unexpected keyword argument "masks" for "inpaint"' in done.stdout
    assert 'Module has no attribute "inpiant"' in done.stdout
