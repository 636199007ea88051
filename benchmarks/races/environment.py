"""
Make .venv-races what it should be, or leave it alone if it is.

    PYTHONPATH=scripts python3 benchmarks/races/environment.py

It holds the libraries to compare with, in the versions of requirements/races.txt,
and what sessioncore needs to run, so that nothing else ever sees them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Final

from bootstrap import ROOT, make_venv, run, usable

VENV: Final = ROOT / ".venv-races"
PINS: Final = ROOT / "requirements" / "races.txt"


def main() -> None:
    """
    Install unless the stamp says that the same was installed before.
    """
    stamp = VENV / "sessioncore-stamp.json"
    inputs = hashlib.sha256(PINS.read_bytes()).hexdigest()
    wanted = {"python": sys.version, "root": str(ROOT), "inputs": inputs}
    if stamp.exists() and json.loads(stamp.read_text()) == wanted:
        return
    if not usable(VENV):
        make_venv(VENV)
    stamp.unlink(missing_ok=True)
    print(f"installing into {VENV.name} what `races` compares", flush=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--requirement", PINS)
    stamp.write_text(json.dumps(wanted))


if __name__ == "__main__":
    main()
