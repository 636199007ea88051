"""
The command that looks after the tables: ``python -m sessioncore_sql``.

It says in words what it found and did, and never the password of a URL.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from sessioncore.errors import StoreError

from ._engine import new_async_engine, new_engine
from ._maintenance import (
    async_check_schema,
    async_migrate,
    async_pending_statements,
    check_schema,
    migrate,
    pending_statements,
)
from ._schema import Component, SchemaMismatch, SchemaState

URL_VARIABLE: Final = "SESSIONCORE_SQL_URL"

FITS: Final = 0
DOES_NOT_FIT: Final = 1
NOT_FOUND_OUT: Final = 2
"""Also what argparse exits with when it is called wrongly."""

_NO_URL: Final = "this is not the URL of a database"

_DEADLINE_SECONDS: Final = 600
_MOST_SECONDS: Final = 86_400

_DESCRIPTION: Final = "Looks after the tables of sessioncore in a SQL database."

_EPILOG: Final = f"""\
The URL is one of SQLAlchemy's, such as postgresql+psycopg://app@db.example/app.
Other users of a machine can see its command lines: a URL with a password belongs
into the environment variable {URL_VARIABLE}.

Migrate first and deploy then: servers with the older version go on working.
"""

_COMMANDS: Final = {
    "check": "say whether the tables fit this library; exits with 0 if they do, with 1 if "
    "not, with 2 if that could not be found out",
    "migrate": "bring the tables up to date, or make them",
    "sql": "print what migrate would execute, and change nothing",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Carry out one command, and return its exit code.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    text: str | None = options.url or os.environ.get(URL_VARIABLE)
    if not text:
        parser.error(f"name the database: as URL, or in {URL_VARIABLE}")
    components = [Component(name) for name in options.component]
    deadline = timedelta(seconds=options.deadline)
    try:
        url = _parsed(text)
        if url.get_dialect().is_async:
            return asyncio.run(_run_async(options.command, url, components, deadline))
        return _run(options.command, url, components, deadline)
    except SchemaMismatch as error:
        problem, code = str(error), DOES_NOT_FIT
    except StoreError as error:
        problem, code = f"{type(error).__name__}: {error}", NOT_FOUND_OUT
    except ImportError as error:
        problem, code = f"the URL's driver is not installed: {error.name}", NOT_FOUND_OUT
    except ArgumentError:
        problem, code = _NO_URL, NOT_FOUND_OUT
    except ValueError as error:
        problem, code = str(error), NOT_FOUND_OUT
    print(problem, file=sys.stderr)  # noqa: T201
    return code


def _parsed(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        # Their messages may quote the URL, with its password.
        pass
    raise ValueError(_NO_URL)


def _run(command: str, url: URL, components: Sequence[Component], deadline: timedelta) -> int:
    engine = new_engine(url)
    try:
        match command:
            case "check":
                return _tell_states(check_schema(engine, *components, deadline=deadline))
            case "migrate":
                return _tell_steps(migrate(engine, *components, deadline=deadline))
            case _:
                return _tell_statements(pending_statements(engine, components))
    finally:
        engine.dispose()


async def _run_async(
    command: str, url: URL, components: Sequence[Component], deadline: timedelta
) -> int:
    engine = new_async_engine(url)
    try:
        match command:
            case "check":
                states = await async_check_schema(engine, *components, deadline=deadline)
                return _tell_states(states)
            case "migrate":
                return _tell_steps(await async_migrate(engine, *components, deadline=deadline))
            case _:
                return _tell_statements(await async_pending_statements(engine, components))
    finally:
        await engine.dispose()


def _tell_states(states: Sequence[SchemaState]) -> int:
    _tell(map(str, states))
    return FITS if all(state.is_usable for state in states) else DOES_NOT_FIT


def _tell_steps(done: Sequence[str]) -> int:
    _tell(done or ["there was nothing to do"])
    return FITS


def _tell_statements(statements: Sequence[str]) -> int:
    _tell(f"{statement};" for statement in statements)
    return FITS


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sessioncore_sql",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, what in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument(
            "url", nargs="?", metavar="URL", help=f"of the database; default: ${URL_VARIABLE}"
        )
        command.add_argument(
            "--component",
            action="append",
            default=[],
            choices=[component.value for component in Component],
            help="what must be there, beside what is; default: the sessions, if nothing is",
        )
        command.add_argument(
            "--deadline",
            type=_seconds,
            default=_DEADLINE_SECONDS,
            metavar="SECONDS",
            help="how long the database may take for it; default: %(default)s",
        )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"not above 0 and up to {_MOST_SECONDS}")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
