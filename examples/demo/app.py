"""
The composition root: the one place that knows which adapters are used. Read it first.

    python examples/demo/app.py [--store URL] [--port N] [--database FILE]

Everything else in this folder knows the service, the HTTP edge and the ports only.
"""

from __future__ import annotations

import argparse
import os
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

from examples.demo.audit import AuditTrail
from examples.demo.handlers import DemoUser, Site, not_our_name, rendered
from examples.demo.live import LiveEvents
from examples.demo.server import Server, listen
from examples.demo.stores import KNOWN, UnusableStore, opened
from examples.demo.web import FrontDoor
from sessioncore import AuthService, Busy, Policies, Policy, Purger, StoreError
from sessioncore.system import SystemClock
from sessioncore_argon2 import Argon2PasswordHasher
from sessioncore_http import Edge
from sessioncore_wsgi import SessionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from wsgiref.types import WSGIApplication

    from examples.demo.stores import Stores, UserStore
    from sessioncore.ports import Clock, CredentialStore, PasswordHasher, SessionStore

DATABASE: Final = Path(__file__).resolve().parents[2] / ".demo" / "sessions.db"
PORT: Final = 8000

STORE_VARIABLE: Final = "SESSIONCORE_DEMO_STORE"
"""Where ``make demo STORE=...`` puts the URL: other users of a computer see command lines."""

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
    live: Callable[[AuditTrail], LiveEvents] = LiveEvents,
) -> tuple[AuthService, WSGIApplication]:
    """
    Put the parts together.

    Args:
        sessions: Where sessions live.

        credentials: Where users live.

        passwords: How passwords are hashed.

        hosts: The names, with the port, under which the site is served.

        clock: What tells the time, to everybody the same.

        live: Makes streams of the audit trail.
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
    edge = Edge(
        origins=[f"http://{host}" for host in hosts],
        sign_in_path="/sign-in",
        step_up_path="/step-up",
        render=rendered,
    )
    site = Site(
        auth=auth,
        policies=POLICIES,
        trail=trail,
        live=live(trail),
        user=DemoUser(credentials, passwords),
    )
    app = SessionMiddleware(site, auth, edge)
    return auth, FrontDoor(app, hosts=hosts, refusal=not_our_name())


def ensure_demo_user(credentials: UserStore, passwords: PasswordHasher) -> None:
    """
    Add the demo user on the first start. A changed password stays changed.
    """
    if credentials.read_hash(DemoUser.USER_ID) is not None:
        return
    encoded = passwords.hash(DemoUser.PASSWORD)
    if isinstance(encoded, Busy):  # nobody else hashes yet
        raise SystemExit("the machine is too busy; please try again")
    # Without effect if another demo on the same database was first.
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
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get(STORE_VARIABLE),
        help=f"where sessions live: {', '.join(KNOWN)}; default: ${STORE_VARIABLE}, or SQLite",
    )
    parser.add_argument(
        "--database",
        metavar="FILE",
        type=Path,
        default=DATABASE,
        help="the SQLite file for what the store does not keep; default: .demo/sessions.db",
    )
    options = parser.parse_args(arguments)
    # A polite request to stop is treated like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = listen(options.port, PORT)
    except (OSError, OverflowError) as error:
        parser.error(f"cannot listen on port {options.port}: {error}")
    with suppress(KeyboardInterrupt), server, ExitStack() as stack:
        try:
            stores = stack.enter_context(opened(options.store or None, options.database))
            passwords = Argon2PasswordHasher()
            ensure_demo_user(stores.credentials, passwords)
        except (UnusableStore, StoreError) as error:
            sys.exit(f"The demo cannot use this store. {error}")
        except OSError as error:
            sys.exit(f"The demo cannot use {options.database.parent}: {error.strerror}")
        serve(server, stores, passwords)
    print("\nStopped.", flush=True)


def serve(server: Server, stores: Stores, passwords: PasswordHasher) -> None:
    """
    Say how to sign in, and answer requests until interrupted.
    """
    auth, app = compose(
        sessions=stores.sessions,
        credentials=stores.credentials,
        passwords=passwords,
        hosts=server.hosts,
        clock=SystemClock(),
    )
    server.set_app(app)
    with Purger(auth, on_error=purging_failed):
        print(f"The demo is at    http://{server.hosts[0]}/")
        print(f"Sign in as        {DemoUser.USERNAME}")
        print(f"with the password {DemoUser.PASSWORD}")
        print(f"Sessions are in   {stores.description}")
        print("Ctrl-C stops it.", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
