"""
A Chromium leaves nothing behind.
"""

from __future__ import annotations

import os
import select
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from browser.certificate import Certificate
from browser.chromium import Chromium
from servers.local import PATIENCE_SECONDS

PROFILE: Final = "--user-data-dir="


class Failure(Exception):
    """
    Of a test.
    """


def told(chromium: Chromium, question: str) -> Any:
    session: Any = chromium.process.new_browser_cdp_session()
    return session.send(question)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes are watched as Linux does it")
def test_no_process_and_no_folder_is_left_of_a_test_that_fails(certificate: Certificate) -> None:
    files: list[int] = []
    folders: list[Path] = []
    with ExitStack() as stack:
        with pytest.raises(Failure), Chromium(certificate) as chromium:
            chromium.new_browser().new_page()
            for process in told(chromium, "SystemInfo.getProcessInfo")["processInfo"]:
                files.append(os.pidfd_open(process["id"]))
                stack.callback(os.close, files[-1])
            command: str = told(chromium, "SystemInfo.getInfo")["commandLine"]
            folders += [
                Path(chromium.home),
                *(Path(part[len(PROFILE) :]) for part in command.split() if PROFILE in part),
            ]
            assert [folder.is_dir() for folder in folders] == [True, True]
            raise Failure
        assert len(files) > 1  # the browser, and a page
        for file in files:
            ended, _, _ = select.select([file], [], [], PATIENCE_SECONDS)
            assert ended
    assert [folder.exists() for folder in folders] == [False, False]
