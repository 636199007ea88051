"""
The composition root: the one place that knows which adapters are used.

    python examples/demo/app.py [--port N] [--database FILE]

Everything else in this folder knows the service and the ports only. To see the
demo on another store, change the two lines that make the stores.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

# So that the modules beside this one have the same names for whoever imports them
# and for whoever runs this file as a script.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sqlalchemy import URL

from examples.demo.audit import AuditTrail
from examples.demo.handlers import DemoUser, Site, outage, refused_origin
from examples.demo.middleware import OriginGuard, SessionMiddleware
from examples.demo.server import Server, listen
from sessioncore import AuthService, Busy, Policies, Policy, Purger, StoreError
from sessioncore.system import SystemClock
from sessioncore_argon2 import Argon2PasswordHasher
from sessioncore_sql import SqlCredentialStore, SqlSessionStore, new_engine

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from wsgiref.types import WSGIApplication

    from sessioncore.ports import Clock, CredentialStore, PasswordHasher, SessionStore

DATABASE: Final = Path(__file__).resolve().parents[2] / ".demo" / "sessions.db"
PORT: Final = 8000


# Figures to watch, not to copy: the id changes every 20 seconds instead of 15
# minutes, and the safe asks again after one minute.
BROWSER: Final = Policy(
    name="browser",
    idle_timeout=timedelta(minutes=15),
    absolute_timeout=timedelta(hours=8),
    touch_interval=timedelta(seconds=5),
    renewal_interval=timedelta(seconds=20),
    grace=timedelta(seconds=5),
    clock_tolerance=timedelta(seconds=1),
    session_limit=5,
    reauthentication_age=timedelta(minutes=1),
)
REMEMBERED: Final = replace(
    Policy.remembered(),
    touch_interval=BROWSER.touch_interval,
    renewal_interval=BROWSER.renewal_interval,
    grace=BROWSER.grace,
    clock_tolerance=BROWSER.clock_tolerance,
    session_limit=BROWSER.session_limit,
    reauthentication_age=BROWSER.reauthentication_age,
)
POLICIES: Final = Policies(BROWSER, REMEMBERED)


def compose(
    *,
    sessions: SessionStore,
    credentials: CredentialStore,
    passwords: PasswordHasher,
    hosts: Collection[str],
    clock: Clock,
) -> tuple[AuthService, WSGIApplication]:
    """
    Put the parts together.

    Args:
        sessions: Where sessions live.

        credentials: Where users live.

        passwords: How passwords are hashed.

        hosts: The names, with the port, under which the site is served.

        clock: What tells the time, to everybody the same.
    """
    trail = AuditTrail()
    auth = AuthService(
        sessions=sessions,
        credentials=credentials,
        passwords=passwords,
        policy=POLICIES,
        events=trail,
        clock=clock,
    )
    site = Site(
        auth=auth,
        policies=POLICIES,
        trail=trail,
        clock=clock,
        user=DemoUser(credentials, passwords),
    )
    with_sessions = SessionMiddleware(
        site, auth=auth, policies=POLICIES, clock=clock, outage=outage
    )
    return auth, OriginGuard(with_sessions, hosts=hosts, refuse=refused_origin)


def ensure_demo_user(credentials: SqlCredentialStore, passwords: PasswordHasher) -> None:
    """
    Add the demo user on the first start. A changed password stays changed.
    """
    if credentials.read_hash(DemoUser.USER_ID) is not None:
        return
    encoded = passwords.hash(DemoUser.PASSWORD)
    if isinstance(encoded, Busy):  # nobody else hashes yet
        raise SystemExit("the machine is too busy; please try again")
    credentials.add_user(DemoUser.USER_ID, DemoUser.USERNAME, encoded)


def purging_failed(error: StoreError) -> None:
    """
    Say so. No promise rests on purging, and the next round makes up for it.
    """
    print(f"Purging did not work this time: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Serve the demo until Ctrl-C.
    """
    parser = argparse.ArgumentParser(description="A small site on sessioncore, on this computer.")
    parser.add_argument("--port", type=int, help=f"by default {PORT}, or any that is free")
    parser.add_argument("--database", type=Path, default=DATABASE, help="an SQLite file")
    options = parser.parse_args(arguments)
    # A polite request to stop is treated like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = listen(options.port, PORT)
    except (OSError, OverflowError) as error:
        parser.error(f"cannot listen on port {options.port}: {error}")
    with suppress(KeyboardInterrupt), server:
        try:
            serve(server, options.database)
        except (StoreError, OSError) as error:
            sys.exit(f"cannot use {options.database} as a database: {error}")
    print("\nStopped.", flush=True)


def serve(server: Server, database: Path) -> None:
    """
    Make the parts, say how to sign in, and answer requests until interrupted.
    """
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        engine = new_engine(URL.create("sqlite", database=str(database)))
        stack.callback(engine.dispose)
        sessions, credentials = SqlSessionStore(engine), SqlCredentialStore(engine)
        sessions.create_schema()
        credentials.create_schema()
        passwords = Argon2PasswordHasher()
        ensure_demo_user(credentials, passwords)
        auth, app = compose(
            sessions=sessions,
            credentials=credentials,
            passwords=passwords,
            hosts=server.hosts,
            clock=SystemClock(),
        )
        server.set_app(app)
        stack.enter_context(Purger(auth, on_error=purging_failed))
        print(f"The demo is at    http://{server.hosts[0]}/")
        print(f"Sign in as        {DemoUser.USERNAME}")
        print(f"with the password {DemoUser.PASSWORD}")
        print(f"The database is   {database}")
        print("Ctrl-C stops it.", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
