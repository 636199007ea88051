"""
What is shipped: one distribution, one top-level package per technology (ADR-0004).

Everything is built in a copy of the tree, without a network, as a release would be.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE_FOLDERS = [ROOT / "src", ROOT / "src" / "adapters"]
PACKAGES = {
    package.name: package
    for folder in SOURCE_FOLDERS
    for package in sorted(folder.iterdir())
    if (package / "__init__.py").exists()
}


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("packaging")
    tree, dist = folder / "tree", folder / "dist"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    # Not what an editable install or an earlier build has left behind.
    leftovers = shutil.ignore_patterns("*.egg-info", "__pycache__", "build")
    shutil.copytree(ROOT / "src", tree / "src", ignore=leftovers)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, tree)
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def empty_venv(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    An environment in which the wheel is installed, and nothing else.
    """
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", built.wheel)
    return python


def run(*command: str | Path) -> None:
    outcome = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert outcome.returncode == 0, outcome.stdout


def runs(python: Path, program: str) -> bool:
    outcome = subprocess.run([python, "-I", "-c", program], check=False, capture_output=True)
    return outcome.returncode == 0


def files_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_a_package_bears_the_name_of_the_project() -> None:
    assert "sessioncore" in PACKAGES
    assert all(re.fullmatch(r"sessioncore(_[a-z0-9]+)*", name) for name in PACKAGES)


def test_the_wheel_has_these_packages_and_no_other_top_level_name(built: Built) -> None:
    assert {name.partition("/")[0] for name in files_in(built.wheel)} == set(PACKAGES)


def test_the_wheel_has_every_file_of_every_package(built: Built) -> None:
    expected = {
        f"{name}/{path.relative_to(package)}"
        for name, package in PACKAGES.items()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert files_in(built.wheel) == expected


def test_every_package_says_that_it_is_typed(built: Built) -> None:
    assert {f"{name}/py.typed" for name in PACKAGES} <= files_in(built.wheel)


def test_no_test_is_shipped_but_the_contract_suite(built: Built) -> None:
    shipped = files_in(built.wheel)
    assert not [name for name in shipped if re.search(r"(^|/)(tests?/|test_|conftest)", name)]
    assert "sessioncore/testing/__init__.py" in shipped


def test_the_sdist_builds_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, tree)
    (again,) = tmp_path.glob("*.whl")
    assert files_in(again) == files_in(built.wheel)


def test_the_domain_works_with_nothing_else_installed(empty_venv: Path) -> None:
    assert runs(empty_venv, "import sessioncore")


def test_nothing_else_really_is_installed(empty_venv: Path) -> None:
    assert not runs(empty_venv, "import attrs")


def test_the_folder_of_adapters_is_not_a_package(empty_venv: Path) -> None:
    assert not runs(empty_venv, "import adapters")


def test_every_adapter_is_found_under_its_own_name(empty_venv: Path) -> None:
    for name in PACKAGES:
        assert runs(empty_venv, f"import importlib.util as i; assert i.find_spec({name!r})"), name


# The pins

PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*")


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert all(PIN.fullmatch(line) for line in pinned), "only exact pins: no addresses, no hashes"
    return {normal(name): version for name, _, version in (line.partition("==") for line in pinned)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_whatever_the_project_names_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    named = [
        *project["build-system"]["requires"],
        *(each for one in (*extras, *groups) for each in one if isinstance(each, str)),
    ]
    names = {normal(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in named}
    assert names - {"sessioncore"} <= set(pins())  # extras and groups may include each other
