"""
The pages. They show what they are given, and decide nothing. Read it for what may be shown of a
session, and what may not.
"""

from __future__ import annotations

import hmac
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, LiteralString

from examples.demo.audit import told
from examples.demo.devices import described
from examples.demo.inside import beginning
from examples.demo.web import Html, html, joined
from sessioncore import Policy, Session
from sessioncore_http import safe_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.demo.audit import Entry
    from examples.demo.inside import Part
    from sessioncore import Json
    from sessioncore_http import Problem, RequestHead

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
    "stepped-up": "Thank you. This session has a new id, and the old one opens nothing.",
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


def _page(frame: Frame | None, title: str, content: Html, *, head: Html = NOTHING) -> Html:
    # Without a frame nobody has asked who this is, and the page claims nothing.
    known, frame = frame is not None, frame or Frame()
    links = [_nav_link(frame, "/", "Home")]
    if known and frame.username is None:
        links.append(_nav_link(frame, "/sign-in", "Sign in"))
    elif known:
        links += [
            _nav_link(frame, "/devices", "Devices"),
            _nav_link(frame, "/events", "Events"),
            _nav_link(frame, "/inside", "Cookie and store"),
            _nav_link(frame, "/safe", "Safe"),
            _nav_link(frame, "/password", "Password"),
            html(
                '<li class="last"><form method="post" action="/sign-out"><button class="plain">'
                'Sign out<span class="unseen"> {name}</span></button></form></li>',
                name=frame.username,
            ),
        ]
    return html(
        """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="theme-color" content="#0b5d4e">
{head}
<title>{title} · sessioncore demo</title>
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<script src="/live.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<div class="bar">
<p class="name"><img src="/icon.svg" alt="" width="28" height="28"> sessioncore demo</p>
<nav aria-label="Pages"><ul>
{links}
</ul></nav>
</div>
</header>
<main id="main" tabindex="-1">
<h1>{title}</h1>
{notice}
{content}
</main>
<footer>
<p>A demonstration that listens on this computer only. All of it works without JavaScript; with
it, events appear as they happen.</p>
</footer>
</body>
</html>
""",
        head=head,
        title=title,
        links=joined(links),
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
        "keep it: ours is a <code>Secure</code> cookie, and this page comes over "
        "plain HTTP. Current Chrome, Edge and Firefox make an exception for the computer's own "
        "addresses. Safari and other WebKit browsers, such as GNOME Web, do not, or only in their "
        "latest versions; extensions may block cookies, too.</p><p>We do not fall back to a "
        "weaker cookie. Please try another browser. With HTTPS, all of them keep it.</p></div>"
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


def _rows(*pairs: tuple[str, object]) -> Html:
    return html(
        "<dl>{rows}</dl>",
        rows=joined(
            html("<dt>{name}</dt><dd>{value}</dd>", name=name, value=value) for name, value in pairs
        ),
    )


def _code(text: object) -> Html:
    return html("<code>{text}</code>", text=text)


# -- Home ----------------------------------------------------------------------


def _data(data: dict[str, Json]) -> Html:
    return html(
        """<section aria-labelledby="data">
<h2 id="data">Kept in your session</h2>
<div class="side-by-side">
<p class="figure"><span class="unseen">Counter: </span><output>{counter}</output></p>
<form method="post" action="/counter"><button>Count one up</button></form>
</div>
<form method="post" action="/note">
<label for="note">A note</label>
<div class="with-button">
<input id="note" name="note" value="{note}" maxlength="{most}" autocomplete="off">
<button class="plain">Keep the note</button>
</div>
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
            """<p class="lead">This small site remembers you with a session that lives on the
server. Your browser holds one random cookie, and nothing else.</p>
<p><a class="button" href="/sign-in">Sign in</a></p>
{data}
<p class="quiet">You can use these before you sign in. What you leave here comes along when you
do, under a new session id.</p>""",
            data=_data(data),
        ),
    )


def member_home(
    frame: Frame,
    session: Session,
    policy: Policy,
    *,
    data: dict[str, Json],
    events: Sequence[Entry],
    now: datetime,
) -> Html:
    """
    Home, for a signed-in user: who am I, my data, what happened.
    """
    return _page(
        frame,
        f"Hello, {frame.username}",
        html(
            """<div class="pair">
{who}
{data}
</div>
{events}
{try_this}""",
            who=_who(session, policy, now),
            data=_data(data),
            events=_events(events, most=6),
            try_this=_TRY_THIS,
        ),
    )


_TRY_THIS: Final = Html(
    """<section aria-labelledby="try">
<h2 id="try">Things to try</h2>
<ul>
<li>Sign in with a second browser or a private window, and see it arrive under “What just
happened”. Then end it from <a href="/devices">your devices</a>: it is out at its next click.</li>
<li>Load <a href="/inside">cookie and store</a> twice after 20 seconds, and see the session id
change.</li>
<li>Open <a href="/safe">the safe</a> more than a minute after signing in: it asks again.</li>
<li><a href="/password">Change the password</a>, and every other session ends.</li>
</ul>
</section>"""
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


# -- What just happened --------------------------------------------------------


def events(frame: Frame, entries: Sequence[Entry]) -> Html:
    """
    The audit trail of a user; a script adds to it what happens while the page is open.
    """
    return _page(
        frame,
        "What just happened",
        html(
            """<p>The audit trail of your account since this demo was started, the newest first.
Sign in elsewhere, or mistype a password. Nothing here names a session id.</p>
{events}
<p class="quiet">Watching is no sign of life: a page that is left open lets its session idle out.
When the session ends, the page hears no more.</p>""",
            events=_events(entries, most=50, heading=False),
        ),
    )


def _events(entries: Sequence[Entry], *, most: int, heading: bool = True) -> Html:
    rows = joined(
        html(
            '<li><span>{text}</span> <time datetime="{exact}">{when}</time></li>',
            text=told(entry.event),
            exact=entry.event.at.isoformat(timespec="milliseconds"),
            when=f"{entry.event.at.astimezone(UTC):%H:%M:%S} UTC",
        )
        for entry in entries
    )
    title = (
        Html('<h2 id="happened">What just happened</h2>')
        if heading
        else Html('<h2 id="happened" class="unseen">Events</h2>')
    )
    # The script takes the number of the last event from here, and says whether it listens.
    return html(
        """<section aria-labelledby="happened">
<div class="side-by-side">{title}<p class="state" role="status" data-state></p></div>
<ol class="rows events" aria-live="polite" data-events data-after="{after}" data-most="{most}">
{rows}</ol>
<p class="quiet"><a href="/events">{link}</a></p>
</section>""",
        title=title,
        after=entries[0].number if entries else "",
        most=most,
        rows=rows,
        link="All events" if heading else "Look again",
    )


# -- What the cookie holds, and what the store holds ----------------------------


def inside(
    frame: Frame,
    session: Session,
    policy: Policy,
    *,
    cookie_name: str,
    presented: Sequence[Part],
    presented_digest: bytes,
    brought: Sequence[Part] | None,
    forgery: str,
    now: datetime,
) -> Html:
    """
    Side by side: the bearer's half of a session, and the server's.
    """
    return _page(
        frame,
        "Cookie and store",
        html(
            """<p class="lead">Two halves of one session. Only beginnings are shown: the whole
cookie is on no page, for then a script could read what <code>HttpOnly</code> keeps from it.</p>
{change}
<div class="pair halves">
{cookie}
{record}
{way}
</div>""",
            change=_change_of_id(session, policy, presented, brought, now),
            cookie=_cookie(cookie_name, presented, policy),
            record=_record(session, presented_digest),
            way=_one_way(session, presented_digest, forgery),
        ),
    )


def _change_of_id(
    session: Session,
    policy: Policy,
    presented: Sequence[Part],
    brought: Sequence[Part] | None,
    now: datetime,
) -> Html:
    interval = policy.renewal_interval or timedelta(0)
    waited = now - session.changed_at
    again = Html('<a href="/inside">load this page again</a>')
    if brought is not None:
        state = html(
            "A new id came to your browser with this very page. Now {again}: the first request "
            "that brings it makes it the current one, and the old one retires.",
            again=again,
        )
    elif waited >= interval:
        state = html("A new id is due: {again}.", again=again)
    else:
        state = html(
            "The next one is due in {wait}. Then {again} twice: the first time brings the new "
            "id, the second time uses it.",
            wait=_length(interval - waited + timedelta(seconds=1)),
            again=again,
        )
    steps = [
        html(
            "<div><dt>Your browser sent</dt><dd><code>{secret}</code></dd></div>",
            secret=presented[-1].begins,
        )
    ]
    if brought is not None:
        steps.append(
            html(
                '<div class="new"><dt>This page brings</dt><dd><code>{secret}</code></dd></div>',
                secret=brought[-1].begins,
            )
        )
    return html(
        """<section aria-labelledby="change">
<h2 id="change">The id changes</h2>
<p>The secret of your session id is replaced every {interval} in this demo (15 minutes are usual);
last time {changed}.</p>
<dl class="steps">{steps}</dl>
<p>{state}</p>
</section>""",
        interval=_length(interval),
        changed=_instant(session.changed_at, now),
        steps=joined(steps),
        state=state,
    )


def _cookie(name: str, parts: Sequence[Part], policy: Policy) -> Html:
    return html(
        """<section aria-labelledby="cookie">
<h2 id="cookie">The cookie holds</h2>
<p><code>{name}</code>, 72 characters that say nothing about you.</p>
{rows}
</section>""",
        name=name,
        rows=_rows(
            *(
                (
                    part.name,
                    html(
                        '{begins} <span class="quiet">{size} bytes, {purpose}</span>',
                        begins=_code(part.begins),
                        size=part.size,
                        purpose=part.purpose,
                    ),
                )
                for part in parts
            ),
            ("attributes", _code("Secure; HttpOnly; SameSite=Lax; Path=/")),
            (
                "kept",
                "when the browser closes, too" if policy.persistent else "until the browser closes",
            ),
        ),
    )


def _record(session: Session, presented_digest: bytes) -> Html:
    def digest(octets: bytes | None, note: LiteralString = "") -> object:
        if octets is None:
            return "none"
        mine = octets == presented_digest
        return html(
            '{begins} <span class="quiet">{note}{mine}</span>',
            begins=_code(beginning(octets)),
            note=note,
            mine="; the one that your browser sent" if mine else "",
        )

    def exact(instant: datetime | None) -> object:
        return "never" if instant is None else _code(f"{instant.astimezone(UTC):%F %T.%f}"[:-3])

    return html(
        """<section aria-labelledby="record">
<h2 id="record">The store holds</h2>
<p>One record, and whose it is. Times are UTC.</p>
{rows}
</section>""",
        rows=_rows(
            (
                "filed under",
                html(
                    '{epoch} {slot} <span class="quiet">epoch and slot</span>',
                    epoch=_code(beginning(session.locator.epoch)),
                    slot=_code(beginning(session.locator.slot)),
                ),
            ),
            ("family", digest(session.family, "of SHA-256(family)")),
            ("current", digest(session.current, "of SHA-256(family, secret)")),
            (
                "pending",
                digest(session.pending.digest if session.pending else None, "of the next id"),
            ),
            ("previous", digest(session.previous, "of the id before")),
            ("subject", session.user_id),
            ("policy", session.policy),
            ("methods", ", ".join(session.methods)),
            ("created", exact(session.created_at)),
            ("proven", exact(session.authenticated_at)),
            ("changed", exact(session.changed_at)),
            ("last seen", exact(session.last_seen_at)),
            ("device", described(session.device.user_agent)),
            ("address", session.device.address or "unknown"),
            (
                "stamp",
                html(
                    '{stamp} <span class="quiet">of the last write</span>',
                    stamp=_code(session.stamp.hex()),
                ),
            ),
        ),
    )


def _one_way(session: Session, presented_digest: bytes, forgery: str) -> Html:
    kept = (session.current, session.previous, session.pending and session.pending.digest)
    fits = any(hmac.compare_digest(one, presented_digest) for one in kept if one)
    return html(
        """<section aria-labelledby="way">
<h2 id="way">One way only</h2>
<ul class="checks">
<li class="good"><strong>From the cookie to the store:</strong> SHA-256 of the family and the
secret that your browser sent begins with {digest} and {fits}. That is how you were recognised just
now.</li>
<li class="bad"><strong>From the store to the cookie:</strong> an id was made just now of everything
that the store holds of this session, as a thief of the database would. The answer:
<strong>refused ({forgery})</strong>. Nothing was written, and nobody was signed out.</li>
</ul>
<p class="quiet">SHA-256 cannot be turned round, and behind it are 256 random bits that only your
browser has. A stolen database is no stolen session.</p>
</section>""",
        digest=_code(beginning(presented_digest)),
        fits="is what the store has" if fits else "was in the store until a moment ago",
        forgery=forgery,
    )


# -- Signing in ----------------------------------------------------------------


def sign_in(
    frame: Frame,
    *,
    demo_username: str,
    demo_password: str | None,
    username: str = "",
    target: str = "",
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
<section class="form" aria-label="Sign in">
{problem}
<form method="post" action="/sign-in">
<input type="hidden" name="next" value="{target}">
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
browsers may not, and then the home page says so.</p>
""",
            hint=hint,
            problem=_problem(problem),
            described=_described_by(problem),
            username=username,
            target=target,
        ),
    )


# -- My devices ----------------------------------------------------------------


def devices(
    frame: Frame, mine: Session, all_mine: Sequence[Session], policy: Policy, now: datetime
) -> Html:
    """
    Where the user is signed in, and how to end that.
    """
    newest_first = sorted(all_mine, key=lambda session: session.last_seen_at, reverse=True)
    rows = sorted(newest_first, key=lambda session: session.handle != mine.handle)
    others = len(all_mine) - 1
    if others > 0:
        rest = html(
            '<form method="post" action="/sign-out-others">'
            "<button>Sign out everywhere else</button></form>"
        )
    else:
        rest = html("<p>You are signed in nowhere else.</p>")
    return _page(
        frame,
        "My devices",
        html(
            """<p>{count}. You may have {limit} sessions at a time; one more, and the one seen least
recently ends.</p>
<section aria-labelledby="where">
<h2 id="where" class="unseen">Where you are signed in</h2>
<ul class="rows">{rows}</ul></section>
<section aria-labelledby="everywhere">
<h2 id="everywhere">Sign out everywhere</h2>
<p>It holds at once: also for a sign-in that is under way right now.</p>
<div class="side-by-side">
{rest}
<form method="post" action="/sign-out-everywhere">
<button class="plain">Sign out everywhere, here too</button></form>
</div>
</section>
<p class="quiet">Being seen is recorded every {touch}.</p>""",
            count=(
                "You are signed in here and nowhere else"
                if others <= 0
                else f"You are signed in here and in {others} other browser{'s' * (others > 1)}"
            ),
            rows=joined(_device_row(session, mine, now) for session in rows),
            rest=rest,
            limit=policy.session_limit,
            touch=_length(policy.touch_interval),
        ),
    )


def _device_row(session: Session, mine: Session, now: datetime) -> Html:
    device = described(session.device.user_agent)
    if session.handle == mine.handle:
        action = html('<p class="badge">This browser</p>')
    else:
        action = html(
            '<form method="post" action="/devices/revoke">'
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
<section class="form" aria-label="Change the password">
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


def step_up(frame: Frame, policy: Policy, target: str, problem: str = "") -> Html:
    """
    The form that asks for the password again, before something sensitive.
    """
    return _page(
        frame,
        "Is it you?",
        html(
            """<p>What you asked for is only for somebody who proved to be you within the last
{age}. Please give your password again.</p>
<section class="form" aria-label="Give your password again">
{problem}
<form method="post" action="/step-up">
<input type="hidden" name="next" value="{target}">
<input class="unseen" name="username" value="{username}" autocomplete="username" tabindex="-1"
 aria-hidden="true" readonly>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 required{described}>
<button>Go on</button>
</form>
</section>""",
            age=_length(policy.reauthentication_age),
            target=target,
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


def trouble(title: str, text: str) -> Html:
    """
    A page for what did not work, and what to do about it.
    """
    return _page(
        None,
        title,
        html(
            '<p class="problem" role="alert">{text}</p><p><a href="/">To the home page</a></p>',
            text=text,
        ),
    )


def problem(problem: Problem, head: RequestHead) -> Html:
    """
    What the edge answers instead of a page: a refusal, an outage, a wait.
    """
    text, refresh, again = problem.detail, NOTHING, NOTHING
    if problem.code == "throttled" and problem.retry_after is not None:
        # As Retry-After says it: rounded up, so that nobody comes too early.
        seconds = max(1, math.ceil(problem.retry_after.total_seconds()))
        wait = "1 second" if seconds == 1 else f"{seconds} seconds"
        text = f"Nothing was checked this time. Please wait {wait}, then try again."
    if head.method == "GET":
        again = html(
            '<p><a class="button" href="{target}">Load this page again</a></p>',
            target=safe_target(head.target),
        )
        if problem.code == "try-again":
            # The browser has the newer id by now, so this happens once.
            refresh = Html('<meta http-equiv="refresh" content="1">')
    return _page(
        None,
        problem.title,
        html(
            '<p class="problem" role="alert">{text}</p>{again}'
            '<p><a href="/">To the home page</a></p>',
            text=text,
            again=again,
        ),
        head=refresh,
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
