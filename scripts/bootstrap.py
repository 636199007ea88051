"""
Make .venv what it should be, or leave it alone if it is.

    python3 scripts/bootstrap.py demo           what running the library needs
    python3 scripts/bootstrap.py dev            and what testing and measuring it needs
    python3 scripts/bootstrap.py constraints    renew the pins in requirements/

Standard library only, and every version that is installed is pinned in
requirements/constraints.txt, pip and setuptools included.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import debian

# The one part that older Pythons must be able to run.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        f"sessioncore needs Python 3.11 or newer; {sys.executable} is "
        f"{sys.version_info.major}.{sys.version_info.minor}.\n"
        "With another one installed: make PYTHON=python3.11 ..."
    )

import tomllib

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYPROJECT = ROOT / "pyproject.toml"
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"

# Debian takes ensurepip out of Python and puts it into a package of its own.
VENV_PACKAGE = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"

BUILD_TOOLS = ["pip", "setuptools", "wheel"]

# Whatever store somebody shows the demo, and no framework: it has none.
DEMO_EXTRAS = ["argon2", "http", "memory", "postgresql", "redis"]

HEADER = """\
# Every version that `make demo`, `make test` and `make bench` install: exact pins,
# so that a run today and one next year see the same programs. Users of the library
# are not bound by them; pyproject.toml says what it works with.
#
# To renew: `make constraints`, which installs the newest versions that
# pyproject.toml allows into an empty environment and writes them down here. Then
# run `make test`, read what has changed in each, and commit both together.
"""


def main() -> int:
    wanted = sys.argv[1] if len(sys.argv) == 2 else ""
    if wanted == "constraints":
        renew_constraints()
    elif wanted in ("demo", "dev"):
        bring_up_to_date(wanted)
    else:
        print(__doc__)
        return 2
    return 0


def bring_up_to_date(wanted: str) -> None:
    """
    Install unless the stamp says that the same was installed before.
    """
    stamp = VENV / "sessioncore-stamp.json"
    # What runs the tests runs the demo too.
    enough = [stamp_of(kind) for kind in ("demo", "dev") if kind in (wanted, "dev")]
    if stamp.exists() and json.loads(stamp.read_text()) in enough:
        return
    if not usable(VENV):
        make_venv(VENV)
    stamp.unlink(missing_ok=True)
    print(f"installing into {VENV.name} what `{wanted}` needs", flush=True)
    install(VENV, wanted, "--constraint", str(CONSTRAINTS))
    stamp.write_text(json.dumps(stamp_of(wanted)))


def stamp_of(wanted: str) -> dict[str, str]:
    """
    Say what an environment depends on. A linter's settings are not part of it.
    """
    project = read_pyproject()
    relevant = [project["build-system"], project["project"], project["dependency-groups"]]
    relevant.append(project["tool"]["setuptools"])
    text = json.dumps(relevant, sort_keys=True) + CONSTRAINTS.read_text()
    return {
        "kind": wanted,
        "python": sys.version,
        "root": str(ROOT),
        "inputs": hashlib.sha256(text.encode()).hexdigest(),
    }


def read_pyproject() -> Any:
    return tomllib.loads(PYPROJECT.read_text())


def install(venv: Path, wanted: str, *options: str) -> None:
    """
    Install the project, editable, with the extras and groups that *wanted* asks for.
    """
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, "--upgrade", *options, *BUILD_TOOLS)
    every = list(read_pyproject()["project"]["optional-dependencies"])
    extras = every if wanted == "dev" else DEMO_EXTRAS
    groups = ["--group", f"{PYPROJECT}:dev"] if wanted == "dev" else []
    # No isolation: an isolated build would fetch a setuptools that nobody pinned.
    target = f"{ROOT}[{','.join(extras)}]"
    # Setuptools warns of what every editable installation is like.
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    run(*pip, "--no-build-isolation", *options, *groups, "--editable", target, env=quiet)


def renew_constraints() -> None:
    """
    Write down the newest versions that pyproject.toml allows.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "venv"
        make_venv(fresh)
        install(fresh, "dev")
        python = str(fresh / "bin" / "python")
        freeze = [python, "-m", "pip", "freeze", "--all", "--exclude-editable"]
        frozen = subprocess.run(freeze, check=True, stdout=subprocess.PIPE, text=True).stdout
    CONSTRAINTS.write_text(f"{HEADER}\n{frozen}")
    print(f"wrote {CONSTRAINTS.relative_to(ROOT)}")


def usable(venv: Path) -> bool:
    """
    Say whether *venv* works and is of the Python that runs this.
    """
    version = "import sys, pip; print(sys.version)"
    try:
        found = subprocess.run(
            [venv / "bin" / "python", "-c", version], check=False, capture_output=True, text=True
        )
    except OSError:
        return False
    return found.returncode == 0 and found.stdout.strip() == sys.version.strip()


def make_venv(venv: Path) -> None:
    """
    Make an empty environment with pip in it, in one of the ways that machines allow.
    """
    if importlib.util.find_spec("ensurepip") or debian.install(VENV_PACKAGE):
        run(sys.executable, "-m", "venv", "--clear", venv)
    elif importlib.util.find_spec("virtualenv"):
        run(sys.executable, "-m", "virtualenv", "--quiet", "--clear", venv)
    elif importlib.util.find_spec("pip"):
        # Into a folder of its own, which even an externally managed Python allows.
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
            run(*pip, "virtualenv")
            command = (sys.executable, "-m", "virtualenv", "--quiet", "--clear", venv)
            run(*command, env={**os.environ, "PYTHONPATH": folder})
    else:
        sys.exit(
            f"{sys.executable} cannot make virtual environments. To install what is missing:\n"
            f"  Debian, Ubuntu:  sudo apt-get install {VENV_PACKAGE}"
        )


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    outcome = subprocess.run([str(part) for part in command], check=False, env=env)
    if outcome.returncode != 0:
        sys.exit(f"failed: {' '.join(str(part) for part in command)}")


if __name__ == "__main__":
    sys.exit(main())
