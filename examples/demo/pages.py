"""
The pages. They show what they are given, and decide nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, LiteralString

from examples.demo.audit import told
from examples.demo.devices import described
from examples.demo.middleware import COOKIE_NAME
from examples.demo.web import Html, html, joined
from sessioncore import Policy, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sessioncore import Json
    from sessioncore.events import Event

NOTHING: Final = Html()

NOTE_CHARACTERS: Final = 200
SHORTEST_PASSWORD: Final = 8

NOTICES: Final[dict[str, LiteralString]] = {
    "signed-in": "You are signed in.",
    "signed-out": "You are signed out.",
    "signed-out-everywhere": "You are signed out here and everywhere else.",
    "others-signed-out": "Every other session has ended. This one goes on under a new id.",
    "revoked": "That session has ended. Its browser is out at its next click.",
    "not-found": "There was no such session any more.",
    "password-changed": "Your new password is in force, and every other session has ended.",
    "stepped-up": "Thank you. This session has a new id, and the old one is worthless.",
    "ended": "The session that this browser had has ended. Please sign in again.",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """
    What surrounds a page: who looks at it, and what just happened.
    """

    username: str | None = None
    here: str = ""
    notice: Html = NOTHING


def _nav_link(frame: Frame, path: LiteralString, text: LiteralString) -> Html:
    current = Html(' aria-current="page"') if frame.here == path else NOTHING
    return html(
        '<li><a href="{path}"{current}>{text}</a></li>', path=path, current=current, text=text
    )


def _page(frame: Frame | None, title: str, content: Html) -> Html:
    # Without a frame nobody has asked who this is, and the page claims nothing.
    known, frame = frame is not None, frame or Frame()
    links, leave = [_nav_link(frame, "/", "Home")], NOTHING
    if known and frame.username is None:
        links.append(_nav_link(frame, "/sign-in", "Sign in"))
    elif known:
        links += [
            _nav_link(frame, "/sessions", "Sessions"),
            _nav_link(frame, "/password", "Password"),
            _nav_link(frame, "/safe", "The safe"),
        ]
        leave = html(
            '<form method="post" action="/sign-out">'
            '<button class="plain">Sign out<span class="unseen"> {name}</span></button></form>',
            name=frame.username,
        )
    return html(
        """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · sessioncore demo</title>
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<p class="name">sessioncore demo</p>
<nav aria-label="Pages"><ul>
{links}
</ul></nav>
{leave}
</header>
<main id="main" tabindex="-1">
<h1>{title}</h1>
{notice}
{content}
</main>
<footer>
<p>A demonstration that listens on this computer only. Nothing here needs JavaScript.</p>
</footer>
</body>
</html>
""",
        title=title,
        links=joined(links),
        leave=leave,
        notice=frame.notice,
        content=content,
    )


def notice(code: str | None) -> Html:
    """
    Say what just happened; nothing for a code that is not ours.
    """
    text = NOTICES.get(code or "")
    return html('<p class="notice" role="status">{text}</p>', text=text) if text else NOTHING


def cookie_was_not_kept() -> Html:
    """
    Say that the browser did not send back the cookie which it was just given.
    """
    return html(
        '<div class="problem" role="alert"><p><strong>Your browser did not bring the session '
        "cookie back.</strong> If you have not just signed out, or opened an old link, it did not "
        "keep it: <code>{name}</code> is a <code>Secure</code> cookie, and this page comes over "
        "plain HTTP. Current Chrome, Edge and Firefox make an exception for the computer's own "
        "addresses. Safari and other WebKit browsers, such as GNOME Web, do not, or only in their "
        "latest versions; extensions may block cookies, too.</p><p>We do not fall back to a "
        "weaker cookie. Please try another browser. With HTTPS, all of them keep it.</p></div>",
        name=COOKIE_NAME,
    )


def _problem(text: str) -> Html:
    if not text:
        return NOTHING
    return html('<p class="problem" role="alert" id="problem">{text}</p>', text=text)


def _described_by(problem: str) -> Html:
    return Html(' aria-describedby="problem"') if problem else NOTHING


# -- Time and ids, in words ----------------------------------------------------


def _length(duration: timedelta) -> str:
    seconds = max(0, int(duration.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} second" + ("" if seconds == 1 else "s")


def _instant(instant: datetime, now: datetime) -> Html:
    instant, age = instant.astimezone(UTC), now - instant
    return html(
        '<time datetime="{exact}" title="{utc}">{when}</time>',
        exact=instant.isoformat(timespec="milliseconds"),
        utc=f"{instant:%Y-%m-%d %H:%M:%S} UTC",
        when="just now" if age < timedelta(seconds=1) else f"{_length(age)} ago",
    )


def _tag(digest: bytes) -> str:
    # What is shown is a hash of the digest: not the id, and not even the digest.
    return hashlib.sha256(b"sessioncore demo" + digest).hexdigest()[:8]


def _rows(*pairs: tuple[LiteralString, object]) -> Html:
    return html(
        "<dl>{rows}</dl>",
        rows=joined(
            html("<dt>{name}</dt><dd>{value}</dd>", name=name, value=value) for name, value in pairs
        ),
    )


def _code(text: object) -> Html:
    return html("<code>{text}</code>", text=text)


# -- Home ----------------------------------------------------------------------


def _counter(data: dict[str, Json]) -> Html:
    return html(
        """<section aria-labelledby="counter">
<h2 id="counter">Kept in your session</h2>
<div class="side-by-side">
<p class="figure"><span class="unseen">Counter: </span><output>{counter}</output></p>
<form method="post" action="/counter"><button>Count one up</button></form>
</div>
<form method="post" action="/note">
<label for="note">A note</label>
<input id="note" name="note" value="{note}" maxlength="{most}" autocomplete="off">
<button class="plain">Keep the note</button>
</form>
<p class="quiet">Click as fast as you can, in several tabs: no count is lost.</p>
</section>""",
        counter=data.get("counter", 0),
        note=data.get("note", ""),
        most=NOTE_CHARACTERS,
    )


def visitor_home(frame: Frame, data: dict[str, Json]) -> Html:
    """
    Home, for somebody who has not signed in.
    """
    return _page(
        frame,
        "Hello, visitor",
        html(
            """<p>This small site remembers you with a session that lives on the server. Your
browser holds one random cookie, and nothing else.</p>
<p><a class="button" href="/sign-in">Sign in</a></p>
{counter}
<p class="quiet">You can use these before you sign in. What you leave here comes along when you
do, under a new session id.</p>""",
            counter=_counter(data),
        ),
    )


def member_home(
    frame: Frame,
    session: Session,
    policy: Policy,
    *,
    data: dict[str, Json],
    events: Sequence[Event],
    now: datetime,
) -> Html:
    """
    Home, for a signed-in user: who am I, my id, my data, what happened.
    """
    return _page(
        frame,
        f"Hello, {frame.username}",
        joined(
            [
                _who(session, policy, now),
                _counter(data),
                _id(session, policy, now),
                _events(events, now),
            ]
        ),
    )


def _who(session: Session, policy: Policy, now: datetime) -> Html:
    proven_at = session.authenticated_at or session.created_at
    return html(
        '<section aria-labelledby="who"><h2 id="who">Who am I?</h2>{rows}</section>',
        rows=_rows(
            ("User id", session.user_id),
            ("This browser", described(session.device.user_agent)),
            ("Signed in", _instant(session.created_at, now)),
            ("Identity proven", _instant(proven_at, now)),
            (
                "Ends",
                (
                    f"after {_length(policy.idle_timeout)} without a visit, and in any case "
                    f"{_length(policy.absolute_timeout)} after signing in"
                ),
            ),
            ("Session", html("{code}, its public name", code=_code(session.handle[:8]))),
        ),
    )


def _id(session: Session, policy: Policy, now: datetime) -> Html:
    age = now - session.changed_at
    interval = policy.renewal_interval or timedelta(0)
    if session.pending is not None:
        state = html(
            "A new id is on its way to your browser, with this very page. The first request that "
            "brings it makes it the current one: "
            '<a href="/">load this page again</a>.'
        )
    elif age >= interval:
        state = html("A new id is due.")
    else:
        state = html(
            'The next one is due in {wait}. Then <a href="/">load this page</a> twice: the first '
            "time brings the new id, the second time uses it.",
            wait=_length(interval - age + timedelta(seconds=1)),
        )
    rows: list[tuple[LiteralString, object]] = [
        ("Last replaced", _instant(session.changed_at, now)),
        ("Current id", html("fingerprint {tag}", tag=_code(_tag(session.current)))),
    ]
    if session.pending is not None:
        tag = _code(_tag(session.pending.digest))
        rows.append(("Next id", html("fingerprint {tag}, not used yet", tag=tag)))
    if session.previous is not None:
        left = policy.grace - age
        fate = (
            f"accepted for {_length(left + timedelta(seconds=1))} more"
            if left > timedelta(0)
            else "retired: whoever brings it now is refused"
        )
        tag = _code(_tag(session.previous))
        rows.append(("Previous id", html("fingerprint {tag}, {fate}", tag=tag, fate=fate)))
    return html(
        """<section aria-labelledby="id">
<h2 id="id">Your session id changes</h2>
<p>Every {interval} in this demo (15 minutes are usual). {state}</p>
{rows}
<p class="quiet">A fingerprint tells ids apart and opens nothing. The ids themselves are never
shown.</p>
<details><summary>What the cookie holds</summary>
{cookie}
<p class="quiet">Scripts cannot read it, it is sent to this host only, and it says nothing about
you: all that is known stands in the record below.</p>
</details>
<details><summary>What the server holds</summary>
{record}
<p class="quiet">Whoever reads the database gets digests, and cannot sign in with them.</p>
</details>
</section>""",
        interval=_length(interval),
        state=state,
        rows=_rows(*rows),
        cookie=_rows(
            ("Name", _code(COOKIE_NAME)),
            ("Value", "72 characters, 54 random-looking bytes: opaque"),
            ("Attributes", _code("Secure; HttpOnly; SameSite=Lax; Path=/")),
            (
                "Kept",
                "when the browser closes, too" if policy.persistent else "until the browser closes",
            ),
        ),
        record=_record(session),
    )


def _record(session: Session) -> Html:
    def digest(octets: bytes | None) -> object:
        if octets is None:
            return "none"
        return html("{size} bytes, fingerprint {tag}", size=len(octets), tag=_code(_tag(octets)))

    def exact(instant: datetime | None) -> object:
        return "never" if instant is None else _code(instant.isoformat(timespec="milliseconds"))

    return _rows(
        ("epoch", "16 bytes, the same in all your sessions"),
        ("slot", "6 bytes, which of them this is"),
        ("subject", session.user_id),
        ("policy", session.policy),
        ("methods", ", ".join(session.methods)),
        ("created_at", exact(session.created_at)),
        ("authenticated_at", exact(session.authenticated_at)),
        ("changed_at", exact(session.changed_at)),
        ("last_seen_at", exact(session.last_seen_at)),
        ("family", digest(session.family)),
        ("current", digest(session.current)),
        ("pending", digest(session.pending.digest if session.pending else None)),
        ("previous", digest(session.previous)),
        ("device.address", session.device.address or "unknown"),
        ("device.user_agent", session.device.user_agent or "unknown"),
    )


def _events(events: Sequence[Event], now: datetime) -> Html:
    rows = joined(
        html(
            '<li>{text} <span class="quiet">{instant}</span></li>',
            text=told(event),
            instant=_instant(event.at, now),
        )
        for event in events
    )
    return html(
        '<section aria-labelledby="events"><h2 id="events">What happened</h2>'
        '<p class="quiet">The audit trail of your account since this demo was started, '
        'newest first. <a href="/">Look again</a></p>'
        '<ol class="rows">{rows}</ol></section>',
        rows=rows or html("<li>Nothing yet.</li>"),
    )


# -- Signing in ----------------------------------------------------------------


def sign_in(
    frame: Frame,
    *,
    demo_username: str,
    demo_password: str | None,
    username: str = "",
    problem: str = "",
) -> Html:
    """
    The form to sign in with, and with what.
    """
    if demo_password is None:
        hint = html(
            "<p>The demo user is {name}, with the password that you gave it. To start over, stop "
            "the demo and delete its database.</p>",
            name=_code(demo_username),
        )
    else:
        hint = joined(
            [
                html("<p>There is one user in this demo:</p>"),
                _rows(("Name", _code(demo_username)), ("Password", _code(demo_password))),
            ]
        )
    return _page(
        frame,
        "Sign in",
        html(
            """{hint}
<section aria-label="Sign in">
{problem}
<form method="post" action="/sign-in">
<label for="username">Name</label>
<input id="username" name="username" value="{username}" autocomplete="username"
 autocapitalize="none" spellcheck="false" required{described}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 required{described}>
<label class="choice"><input type="checkbox" name="remember" value="yes"> Keep me signed in
when the browser closes</label>
<button>Sign in</button>
</form>
</section>
<p class="quiet">For the full picture, sign in with a second browser or a private window, too.
Chrome, Edge and Firefox keep our cookie over plain HTTP on this computer; Safari and other WebKit
browsers may not, and then the next page says so.</p>
""",
            hint=hint,
            problem=_problem(problem),
            described=_described_by(problem),
            username=username,
        ),
    )


# -- Sessions ------------------------------------------------------------------


def sessions(
    frame: Frame, mine: Session, all_mine: Sequence[Session], policy: Policy, now: datetime
) -> Html:
    """
    Where the user is signed in, and how to end that.
    """
    return _page(
        frame,
        "My sessions",
        html(
            """<section aria-label="Sessions"><ul class="rows">{rows}</ul></section>
<section aria-labelledby="everywhere">
<h2 id="everywhere">Sign out everywhere</h2>
<p>It holds at once: also for a sign-in that is under way right now.</p>
<div class="side-by-side">
<form method="post" action="/sign-out-others"><button>Sign out everywhere else</button></form>
<form method="post" action="/sign-out-everywhere">
<button class="plain">Sign out everywhere, here too</button></form>
</div>
</section>
<p class="quiet">You may have {limit} sessions at a time; one more, and the one seen least recently
ends. Being seen is recorded every {touch}.</p>""",
            rows=joined(_session_row(session, mine, now) for session in all_mine),
            limit=policy.session_limit,
            touch=_length(policy.touch_interval),
        ),
    )


def _session_row(session: Session, mine: Session, now: datetime) -> Html:
    device = described(session.device.user_agent)
    if session.handle == mine.handle:
        action = html("<strong>This browser</strong>")
    else:
        action = html(
            '<form method="post" action="/revoke">'
            '<input type="hidden" name="handle" value="{handle}">'
            '<button class="plain">Sign out<span class="unseen"> {device}, session {name}</span>'
            "</button></form>",
            handle=session.handle,
            device=device,
            name=session.handle[:8],
        )
    return html(
        """<li><div class="side-by-side"><div>
<h3>{device}</h3>
<p class="quiet">{address}, last seen {seen}, signed in {since}<br>
Session {name}, policy {policy}</p>
</div>{action}</div></li>""",
        device=device,
        address=session.device.address or "address unknown",
        seen=_instant(session.last_seen_at, now),
        since=_instant(session.created_at, now),
        name=_code(session.handle[:8]),
        policy=session.policy,
        action=action,
    )


# -- Password and safe ---------------------------------------------------------


def password(frame: Frame, problem: str = "") -> Html:
    """
    The form to change the password with.
    """
    return _page(
        frame,
        "Change the password",
        html(
            """<p>Every other session ends with it, and so does a sign-in under way that still
verified the old password.</p>
<section aria-label="Change the password">
{problem}
<form method="post" action="/password">
<input class="unseen" name="username" value="{username}" autocomplete="username" tabindex="-1"
 aria-hidden="true" readonly>
<label for="password">Password so far</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 required{described}>
<label for="new-password">New password, {shortest} characters or more</label>
<input id="new-password" name="new-password" type="password" autocomplete="new-password"
 minlength="{shortest}" required{described}>
<button>Change the password</button>
</form>
</section>""",
            problem=_problem(problem),
            described=_described_by(problem),
            username=frame.username,
            shortest=SHORTEST_PASSWORD,
        ),
    )


def step_up(frame: Frame, policy: Policy, problem: str = "") -> Html:
    """
    The form that asks for the password again, before something sensitive.
    """
    return _page(
        frame,
        "Is it you?",
        html(
            """<p>What is in the safe is shown only to somebody who proved to be you within the
last {age}. Please give your password again.</p>
<section aria-label="Give your password again">
{problem}
<form method="post" action="/safe">
<input class="unseen" name="username" value="{username}" autocomplete="username" tabindex="-1"
 aria-hidden="true" readonly>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 required{described}>
<button>Open the safe</button>
</form>
</section>""",
            age=_length(policy.reauthentication_age),
            problem=_problem(problem),
            described=_described_by(problem),
            username=frame.username,
        ),
    )


def safe(frame: Frame, session: Session, policy: Policy, now: datetime) -> Html:
    """
    The sensitive page.
    """
    return _page(
        frame,
        "The safe",
        html(
            """<section aria-labelledby="codes">
<h2 id="codes">Your recovery codes</h2>
<p><code>7431-0962</code>, <code>2205-8817</code>, <code>6690-3154</code></p>
<p class="quiet">Made up for this demo. You proved your identity {proven}; {age} after that, this
page asks again.</p>
</section>""",
            proven=_instant(session.authenticated_at or session.created_at, now),
            age=_length(policy.reauthentication_age),
        ),
    )


# -- When something is in the way ----------------------------------------------


def trouble(title: LiteralString, text: str) -> Html:
    """
    A page for what did not work, and what to do about it.
    """
    return _page(
        None,
        title,
        html('<p role="alert">{text}</p><p><a href="/">To the home page</a></p>', text=text),
    )


def password_changed_but_sessions_live(frame: Frame) -> Html:
    """
    The one half-done state that a user has to know about.
    """
    return _page(
        frame,
        "Half done",
        html(
            '<p role="alert">Your new password is in force. But your other sessions could not be '
            "ended: the database did not answer. Please do it now.</p>"
            '<form method="post" action="/sign-out-everywhere">'
            "<button>Sign out everywhere</button></form>"
        ),
    )
