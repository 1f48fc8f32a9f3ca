"""The files round the code agree: versions, floors, workflows, Dockerfiles, citation."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import diffprior

ROOT = Path(__file__).parent.parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
EXTRAS = PROJECT["optional-dependencies"]
PYTHONS = re.findall(r":: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile*"))
REQUIREMENTS = [*PROJECT["dependencies"], *(r for extra in EXTRAS.values() for r in extra)]


def parsed(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def floor(name: str) -> str:
    """Return the lowest version that the project allows."""
    matches = [re.match(rf"{name}>=([\d.]+)", requirement) for requirement in REQUIREMENTS]
    (bound,) = {match[1] for match in matches if match}
    return bound


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return parsed(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]


def test_there_is_one_version():
    citation = parsed(ROOT / "CITATION.cff")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert releases[0] == (diffprior.__version__, citation["date-released"])
    assert citation["version"] == diffprior.__version__
    assert releases == sorted(releases, key=lambda r: [int(n) for n in r[0].split(".")])[::-1]


def test_every_release_has_a_link():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    links = dict(re.findall(r"^\[(.+?)\]: (https://\S+)$", changelog, re.MULTILINE))
    assert headings[0] == "Unreleased" and list(links) == headings
    assert f"v{diffprior.__version__}...main" in links["Unreleased"]


def test_the_citation_has_what_the_format_demands():
    citation = parsed(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert [a["name"] for a in citation["authors"]] == [a["name"] for a in PROJECT["authors"]]
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]


def test_pythons_are_those_that_the_package_accepts():
    assert f">={PYTHONS[0]}" == PROJECT["requires-python"]
    assert sorted(PYTHONS, key=lambda v: int(v[2:])) == PYTHONS and len(PYTHONS) >= 3


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_dependency_has_a_floor(requirement):
    assert re.fullmatch(r"diffprior\[[\w,]+\]|[\w-]+(\[\w+\])?>=[\d.]+\d(,<[\d.]+\d)?", requirement)


def test_every_package_is_in_the_wheel():
    folders = {file.parent.relative_to(ROOT) for file in ROOT.glob("diffprior/**/__init__.py")}
    assert set(SETUPTOOLS["packages"]) == {".".join(f.parts) for f in folders} | {"diffprior.tasks"}


def test_every_file_of_the_package_is_in_the_wheel():
    """What is no module, as weights, stubs, recipes and templates, is named by package-data."""
    patterns = [
        ROOT / "/".join(package.split(".")) / pattern
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
    ]
    packed = {file for pattern in patterns for file in ROOT.glob(str(pattern.relative_to(ROOT)))}
    files = {file for file in ROOT.glob("diffprior/**/*") if file.is_file()}
    assert not {f for f in files - packed if f.suffix not in (".py", ".pyc")}


@pytest.mark.parametrize("file", [*WORKFLOWS, *TEMPLATES], ids=lambda file: file.name)
def test_workflows_and_templates_are_yaml(file):
    document = parsed(file)
    assert (
        {"name", "jobs"} <= set(document)
        or {"name", "body"} <= set(document)
        or (file.name == "config.yml" and document["contact_links"])
    )


def test_tests_run_on_every_python_with_the_oldest_and_the_newest_torch(jobs):
    matrix = jobs["tests"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    oldest, newest = matrix["include"]
    assert matrix["torch"] == [oldest["torch"], newest["torch"]] == [floor("torch"), "newest"]
    pins = f"torch=={floor('torch')}.* torchvision=={floor('torchvision')}.*"
    assert (oldest["pins"], newest["pins"]) == (pins, "torch torchvision")


def test_workflows_name_scripts_that_exist(jobs):
    text = "".join(file.read_text() for file in WORKFLOWS)
    scripts = set(re.findall(r"\.ci/[\w.]+", text))
    assert scripts and all((ROOT / script).is_file() for script in scripts)
    for used in re.findall(r"uses: \./(\S+)", text):
        assert (ROOT / used).is_file()


def test_a_release_waits_for_the_tests_and_stores_no_password():
    release = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert set(release["pypi"]["needs"]) == {"ci", "version"}
    assert release["pypi"]["permissions"] == {"id-token": "write"}
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "pypa/gh-action-pypi-publish" in text and "secrets." not in text


def test_the_local_run_does_what_the_workflow_does(jobs):
    """Lint, types and imports are the same commands in both."""
    local = (ROOT / ".ci" / "run").read_text()
    steps = [step["run"] for step in jobs["lint"]["steps"] if "run" in step]
    assert len(steps) >= 5 and all(step in local for step in steps if not step.startswith("uv "))


def test_pre_commit_has_the_versions_of_the_project():
    hooks = parsed(ROOT / ".pre-commit-config.yaml")["repos"]
    revisions = {repo["repo"].rsplit("/", 1)[-1]: repo.get("rev") for repo in hooks}
    assert revisions["ruff-pre-commit"] == f"v{floor('ruff')}"
    entries = [hook.get("entry") for repo in hooks for hook in repo["hooks"]]
    local = (ROOT / ".ci" / "run").read_text()
    assert all(entry in local for entry in entries if entry)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_dockerfiles_have_a_supported_python_and_no_root(file):
    text = file.read_text()
    python = re.search(r"^FROM python:(3\.\d+)|\bpython(3\.\d+)-venv", text, re.MULTILINE)
    assert python and (python[1] or python[2]) in PYTHONS
    user = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    assert user and user[-1] not in ("root", "0")
    assert '\nENTRYPOINT ["diffprior"]\n' in text
    words = json.loads(re.findall(r"^CMD (.*)$", text, re.MULTILINE)[-1])
    cpu = ["serve", "--host", "0.0.0.0", "--port", "8080", "--no-open"]
    assert words == {"Dockerfile.cpu": cpu, "Dockerfile.cuda": ["--help"]}[file.name]
    for name in ("torch", "torchvision"):
        (version,) = re.findall(rf'"{name}>=([\d.]+)"', text)
        assert [int(n) for n in version.split(".")] >= [int(n) for n in floor(name).split(".")]


def test_there_is_an_image_for_each_kind_of_machine():
    assert [file.suffix for file in DOCKERFILES] == [".cpu", ".cuda"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"])
def test_links_of_the_community_files_lead_somewhere(name):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
