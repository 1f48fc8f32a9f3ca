"""Write what the package says about itself in generated files, or check that it is up to date.

``diffprior/cli/index.json`` holds the commands, ``diffprior/__init__.pyi`` the types of the public
functions, ``diffprior/*/__init__.pyi`` what each package exports, and
``diffprior/interop/napari.yaml`` the plug-in of napari.

    python scripts/generate_index.py          # write
    python scripts/generate_index.py --check  # exit with 1 if a file is out of date
"""

import ast
import inspect
import json
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

__all__ = ["generated", "main"]

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "diffprior"
ROOT_STUB = LIBRARY / "__init__.pyi"
MOUNTED = {  # modules with commands of their own, and the panels of the help that those stand in
    "diffprior.cli.score": "Evaluate",
    "diffprior.distributed.commands": "Edit",
    "diffprior.evaluation.commands": "Evaluate",
    "diffprior.training.commands": "Evaluate",
    "diffprior.server.commands": "Serve",
    "diffprior.interop.commands": "Serve",
}
NOTE = "# Written by scripts/generate_index.py.\n"

# Functions that a package exports, by module; public classes are exported without being listed.
FUNCTIONS: dict[str, dict[str, list[str]]] = {
    "densities": {
        "bound": ["limit_bound", "variational_bound"],
        "flow": ["flow_density"],
        "levels": ["bits_per_dimension", "dequantize"],
        "nonequilibrium": ["nonequilibrium_bound"],
    },
    "io": {
        "arrays": ["as_images", "to_pil"],
        "files": ["encode", "find", "read", "write"],
        "masks": ["fit_mask", "mask_tensor", "read_mask"],
    },
    "masks": {
        "changes": ["difference"],
        "lines": ["scratches"],
        "overlays": ["text"],
        "paint": ["color"],
    },
    "pretrained": {"load": ["load_prior", "shipped"]},
    "distributed": {"cluster": ["map"]},
    "interop": {"notebook": ["widget"]},
}
ERRORS = {"io": ["ImageError"], "pretrained": ["PriorError"]}  # that belong to a package
RESULTS = {"invert": ("diffprior.editing.trajectory", "InversionResult")}  # all others: Result
# An image comes back as the kind that went in: T is PIL's Image, a numpy array or a tensor.
TYPE_VARIABLE = '_T = TypeVar("_T", bound=Image | ndarray[Any, Any] | torch.Tensor)'
MODULES = ("torch",)  # imported whole, since a parameter has the name of a class: device
# Packages without a stub: tasks are attributes of diffprior itself.
BARE = ("tasks", "cli", "server", "interop.comfyui")


def main() -> None:
    """Write the files that are out of date, or name them."""
    if "--check" in sys.argv[1:]:
        stale = outdated(generated())
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date; run scripts/generate_index.py")
        sys.exit(1 if stale else 0)
    write(outdated(package_stubs()))  # first, since a package cannot be imported without its stub
    write(outdated(generated()))


def outdated(files: dict[Path, str]) -> dict[Path, str]:
    """Return the files whose text is another on disk."""
    return {p: text for p, text in files.items() if not p.exists() or p.read_text() != text}


def write(files: dict[Path, str]) -> None:
    """Write files, and print their names."""
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


def generated() -> dict[Path, str]:
    """Return the text of every generated file."""
    return package_stubs() | {
        LIBRARY / "cli" / "index.json": index(),
        LIBRARY / "interop" / "napari.yaml": napari_manifest(),
        ROOT_STUB: root_stub(),
    }


def formatted(source: str) -> str:
    """Return the source of a stub as ruff sorts and formats it."""
    for command in (["check", "--select=I", "--fix", "--quiet"], ["format", "--quiet"]):
        call = [sys.executable, "-m", "ruff", *command, f"--stdin-filename={ROOT_STUB}", "-"]
        done = subprocess.run(call, input=source, capture_output=True, text=True, check=True)
        source = done.stdout
    return source


# The index of the commands


def index() -> str:
    """Return the index of the commands, in JSON."""
    from diffprior import catalog
    from diffprior.cli import mask
    from diffprior.cli.signatures import describe, describe_group, describe_mounted

    commands = [describe(function) for function in catalog.functions().values()]
    commands.append(describe_group(mask.__name__, mask.mask, mask.WORD))
    for name in filter(find_spec, MOUNTED):
        module = import_module(name)
        functions = [getattr(module, word) for word in module.__all__]
        panel = MOUNTED[name]
        groups = [f for f in functions if isinstance(f, typer.Typer)]
        commands += [describe_group(name, group) for group in groups]
        commands += [describe_mounted(f, panel) for f in functions if returns_nothing(f)]
    return json.dumps([command.as_dict() for command in commands], indent=1) + "\n"


def returns_nothing(function: Callable[..., Any]) -> bool:
    """Return whether a function is a command, which has no result."""
    return inspect.signature(function).return_annotation is None


def napari_manifest() -> str:
    """Return the manifest of the plug-in of napari: JSON, which is YAML, too."""
    from diffprior.interop.napari import manifest

    return NOTE + json.dumps(manifest(), indent=1) + "\n"


# The stub of the package itself


def root_stub() -> str:
    """Return ``diffprior/__init__.pyi``: the packages, the tasks with their types, the rest."""
    import diffprior
    from diffprior import catalog

    package: Any = diffprior
    imports: set[tuple[str, str]] = set()
    tasks = catalog.functions()
    bodies = [task_stub(name, function, imports) for name, function in tasks.items()]
    aliases = [f"{alias} = {name}\n" for alias, name in package._ALIASES.items()]
    lines = [f"from . import {name} as {name}" for name in package._SUBMODULES]
    for module, names in package._ATTRIBUTES.items():
        if not module.startswith("tasks."):
            lines += [f"from .{module} import {name} as {name}" for name in names]
    exported = {n for names in package._ATTRIBUTES.values() for n in names}
    for module, name in sorted(imports):
        if module in MODULES:
            lines.append(f"import {module}")
        elif name not in exported:
            lines.append(f"from {module} import {name}")
    lines.append("from typing import TypeVar")
    lines += ["__version__: str", TYPE_VARIABLE, f"__all__ = {package.__all__}", *bodies, *aliases]
    return formatted(NOTE + "\n".join(lines))


def task_stub(name: str, function: Callable[..., Any], imports: set[tuple[str, str]]) -> str:
    """Return a function with the signature and the docstring of a task, and collect its imports."""
    from diffprior.io.arrays import Images
    from diffprior.runtime.signature import ImageLike

    signature = inspect.signature(function, eval_str=True)
    parts: list[str] = []
    is_keyword = False
    result = annotation(signature.return_annotation, imports)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            parts.append("*")
        hint = parameter.annotation
        kind = annotation(ImageLike | None if hint == Images | None else hint, imports)
        if hint == ImageLike:
            kind = "_T | Images"
            result = result.replace("[Any]", "[_T]")
        default = "" if parameter.default is parameter.empty else f" = {value(parameter.default)}"
        parts.append(f"{parameter.name}: {kind}{default}")
    if name in RESULTS:
        imports.add(RESULTS[name])
        result = RESULTS[name][1]
    body = "".join(f"    {part},\n" for part in parts)
    doc = inspect.cleandoc(function.__doc__ or "").replace("\\", "\\\\")
    text = "\n".join(f"    {line}".rstrip() for line in doc.splitlines())
    return f'def {name}(\n{body}) -> {result}:\n    """{text.lstrip()}\n    """\n'


def value(default: Any) -> str:
    """Return a default as a stub can say it."""
    plain = default is None or isinstance(default, bool | int | float | str)
    return repr(default).replace("'", '"') if plain else "..."


def annotation(hint: Any, imports: set[tuple[str, str]], bare: bool = True) -> str:
    """Return a hint as source; notes of ``Annotated`` are left out.

    Arguments:
        hint: The hint, evaluated.
        imports: The modules and names that the source needs, which are added to.
        bare: Whether a generic class stands without parameters, which are ``Any`` then.
    """
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if hint is None or hint is type(None):
        return "None"
    if hint is ...:
        return "..."
    if origin is typing.Annotated:
        return annotation(arguments[0], imports)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(annotation(a, imports) for a in arguments))
    if origin is typing.Literal:
        imports.add(("typing", "Literal"))
        return f"Literal[{', '.join(map(value, arguments))}]"
    if isinstance(hint, list | tuple):
        return f"[{', '.join(annotation(a, imports) for a in hint)}]"
    if origin is not None:
        inner = ", ".join(annotation(a, imports) for a in arguments)
        return f"{annotation(origin, imports, bare=False)}[{inner}]"
    name = getattr(hint, "__qualname__", None) or str(hint).rpartition(".")[2]
    module = hint.__module__.removesuffix("._local")  # of pathlib, from Python 3.13 on
    if module == "builtins":
        return str(name)
    imports.add((module, name))
    source = f"{module}.{name}" if module in MODULES else str(name)
    parameters = getattr(hint, "__parameters__", ()) if inspect.isclass(hint) and bare else ()
    if parameters:
        imports.add(("typing", "Any"))
    return f"{source}[{', '.join(['Any'] * len(parameters))}]" if parameters else source


# The stubs of the packages


def package_stubs() -> dict[Path, str]:
    """Return the stubs of all packages; nothing is imported for them."""
    found = {}
    for file in sorted(LIBRARY.glob("**/__init__.py")):
        package = ".".join(file.parent.relative_to(LIBRARY).parts)
        if package and package not in BARE:
            found[file.with_suffix(".pyi")] = package_stub(package)
    return found


def package_stub(package: str) -> str:
    """Return the stub of a package: its modules, their public classes, the functions above."""
    folder = LIBRARY.joinpath(*package.split("."))
    modules = sorted(f for f in folder.glob("*.py") if f.stem != "__init__")
    submodules = [f.stem for f in modules if not f.stem.startswith("_")]
    submodules += [f.parent.name for f in sorted(folder.glob("*/__init__.py"))]
    lines = [f"from . import {name} as {name}" for name in submodules]
    taken = set(submodules)
    functions = FUNCTIONS.get(package, {})
    for module in modules:
        exports = [*classes(module), *functions.get(module.stem, [])]
        if clash := taken & set(exports):
            raise ValueError(f"diffprior.{package} has two things called {clash}")
        taken |= set(exports)
        lines += [f"from .{module.stem} import {name} as {name}" for name in exports]
    errors = ERRORS.get(package, [])
    if errors:
        lines.append("import diffprior.errors as _errors")
        lines += [f"{error} = _errors.{error}" for error in errors]
    return formatted(NOTE + "\n".join(lines) + "\n")


def classes(file: Path) -> Iterator[str]:
    """Yield the classes of a source file that its ``__all__`` names."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    public: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            public = ast.literal_eval(node.value)
    yield from (name for name in defined if name in public and not name.startswith("_"))


if __name__ == "__main__":
    main()
