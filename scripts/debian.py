"""
Installing packages of the system, on Debian and Ubuntu, as root or through sudo.

Standard library only: it runs before there is anything else.
"""

import os
import shutil
import subprocess


def install(*packages: str) -> bool:
    """
    Install *packages* if this machine lets us without asking anyone.

    Returns:
        Whether they are installed now.
    """
    if shutil.which("apt-get") is None:
        return False
    if os.geteuid() == 0:
        as_root = []
    elif shutil.which("sudo") and _succeeds("sudo", "--non-interactive", "true"):
        as_root = ["sudo", "--non-interactive"]
    else:
        return False
    print(f"installing {' '.join(packages)} with apt-get", flush=True)
    # RUNLEVEL=1: servers are installed but not started; the tests start their own.
    apt_get = [
        *as_root,
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "RUNLEVEL=1",
        "apt-get",
        "--quiet",
    ]
    # An update may fail for one source out of many; what counts is the install.
    _succeeds(*apt_get, "update")
    return _succeeds(*apt_get, "install", "--yes", "--no-install-recommends", *packages)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0
