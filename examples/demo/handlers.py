"""
What the site does: each page and each form asks the service, and matches its outcome.

Every match is closed by :func:`typing.assert_never`: an outcome that a later
version of the library adds is a type error here, not a surprise at night.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, LiteralString, TypeAlias, assert_never

from examples.demo import pages
from examples.demo.middleware import Visit, visit_of
from examples.demo.web import BadRequest, Html, Request, Response, see_other
from sessioncore import (
    Active,
    AuthService,
    Busy,
    DataChanged,
    DataRead,
    DataTooLarge,
    Device,
    Inactive,
    InactiveReason,
    InvalidData,
    Json,
    LimitReached,
    LoggedIn,
    OutcomeUnknown,
    PasswordChanged,
    PasswordChangedButSessionsLive,
    Policies,
    Policy,
    Refused,
    Rotated,
    Session,
    SessionGone,
    StoreError,
    Throttled,
    UnacceptablePassword,
)
from sessioncore.ports import PasswordCheck

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from examples.demo.audit import AuditTrail
    from sessioncore.ports import Clock, CredentialStore, PasswordHasher

_KEPT_AT_SIGN_IN: Final = ("counter", "note")
_EVENTS_SHOWN: Final = 20
_HERE: Final = Path(__file__).parent


class DemoUser:
    """
    The one user of the demo, whose password the sign-in page gives away.

    Args:
        credentials: Where the user is.

        passwords: Tells whether the password is still the one of the first start.
    """

    USER_ID: Final = "user-1"
    USERNAME: Final = "demo"
    PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - printed on the page

    def __init__(self, credentials: CredentialStore, passwords: PasswordHasher) -> None:
        self._credentials = credentials
        self._passwords = passwords
        self._lock = Lock()
        self._known: tuple[str | None, bool] = (None, False)

    def password(self) -> str | None:
        """
        Return the password to show, or ``None`` if the user has changed it.

        Raises:
            StoreUnavailable: The credential store did not answer.
        """
        encoded = self._credentials.read_hash(self.USER_ID)
        with self._lock:  # verified once per hash: a page must not cost one each time
            if encoded != self._known[0]:
                check = self._passwords.verify(encoded, self.PASSWORD)
                if check is PasswordCheck.BUSY:
                    return None
                self._known = (encoded, check is not PasswordCheck.MISMATCH)
            return self.PASSWORD if self._known[1] else None


@dataclass(frozen=True, slots=True)
class Member:
    """
    A request by a signed-in user.
    """

    request: Request
    visit: Visit
    session: Session
    user_id: str
    policy: Policy


Handler: TypeAlias = Callable[[Request, Visit], Response]
MemberHandler: TypeAlias = Callable[[Member], Response]


class Site:
    """
    The pages and forms, as a WSGI application behind the session middleware.

    Args:
        auth: The service.

        policies: The same that the service has, to be explained to the user.

        trail: The same that the service reports to.

        clock: The same that the service has.

        user: The demo's user.
    """

    def __init__(
        self,
        *,
        auth: AuthService,
        policies: Policies,
        trail: AuditTrail,
        clock: Clock,
        user: DemoUser,
    ) -> None:
        self._auth = auth
        self._policies = policies
        self._trail = trail
        self._clock = clock
        self._user = user
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._home},
            "/counter": {"POST": self._count},
            "/note": {"POST": self._keep_note},
            "/sign-in": {"GET": self._sign_in_form, "POST": self._sign_in},
            "/sign-out": {"POST": self._sign_out},
            "/sessions": {"GET": self._members(self._sessions)},
            "/revoke": {"POST": self._members(self._revoke)},
            "/sign-out-others": {"POST": self._members(self._sign_out_others)},
            "/sign-out-everywhere": {"POST": self._members(self._sign_out_everywhere)},
            "/password": {
                "GET": self._members(self._password_form),
                "POST": self._members(self._change_password),
            },
            "/safe": {"GET": self._members(self._safe), "POST": self._members(self._step_up)},
            "/style.css": {"GET": _file("style.css", "text/css; charset=utf-8")},
            "/icon.svg": {"GET": _file("icon.svg", "image/svg+xml")},
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer one request.
        """
        request = Request(environ)
        try:
            response = self._answer(request, visit_of(environ))
        except BadRequest as error:
            response = _trouble(error.status, "That did not work", "No form of ours sends this.")
        return response.send(environ, start_response)

    def _answer(self, request: Request, visit: Visit) -> Response:
        methods = self._routes.get(request.path)
        if methods is None:
            return _trouble(HTTPStatus.NOT_FOUND, "Not found", "There is no such page here.")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            return _trouble(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "Not like this",
                "This address answers other requests.",
                ("Allow", allowed),
            )
        return handler(request, visit)

    # -- Who is it? ------------------------------------------------------------

    def _members(self, handler: MemberHandler) -> Handler:
        def guarded(request: Request, visit: Visit) -> Response:
            outcome = visit.authenticate()
            match outcome:
                case Active(session=session):
                    if session.user_id is None:
                        return see_other("/sign-in")
                    policy = self._policies.require(session.policy)
                    return handler(Member(request, visit, session, session.user_id, policy))
                case Inactive(reason=reason):
                    return _signed_out(reason)
                case _:
                    assert_never(outcome)

        return guarded

    def _frame(self, member: Member, notice: Html = pages.NOTHING) -> pages.Frame:
        # There is one user; an application would look the name up by the user id.
        return pages.Frame(self._user.USERNAME, member.request.path, notice)

    @staticmethod
    def _noticed(request: Request) -> Html:
        return pages.notice(_news(request))

    # -- Home, and what the session keeps --------------------------------------

    def _home(self, request: Request, visit: Visit) -> Response:
        outcome = visit.authenticate()
        match outcome:
            case Active(session=session):
                data = self._auth.read_data(session)
                match data:
                    case DataRead(values=values):
                        return self._home_of(request, visit, session, dict(values))
                    case SessionGone():  # ended between the two reads
                        return _signed_out(InactiveReason.UNKNOWN)
                    case _:
                        assert_never(data)
            case Inactive(reason=InactiveReason.SUPERSEDED):
                return _superseded()
            case Inactive(reason=InactiveReason.ABSENT):
                # Just given a cookie, and back without it?
                given = _news(request) in {"signed-in", "counting"}
                notice = pages.cookie_was_not_kept() if given else self._noticed(request)
                return Response(pages.visitor_home(pages.Frame(None, "/", notice), {}))
            case Inactive():
                frame = pages.Frame(None, "/", pages.notice("ended"))
                return Response(pages.visitor_home(frame, {}))
            case _:
                assert_never(outcome)

    def _home_of(
        self, request: Request, visit: Visit, session: Session, data: dict[str, Json]
    ) -> Response:
        notice = self._noticed(request)
        if session.user_id is None:
            return Response(pages.visitor_home(pages.Frame(None, "/", notice), data))
        policy = self._policies.require(session.policy)
        member = Member(request, visit, session, session.user_id, policy)
        events = self._trail.latest(member.user_id, _EVENTS_SHOWN)
        return Response(
            pages.member_home(
                self._frame(member, notice),
                session,
                policy,
                data=data,
                events=events,
                now=self._clock.now(),
            )
        )

    def _count(self, request: Request, visit: Visit) -> Response:
        return self._change(
            request, visit, lambda session: self._auth.increment(session, "counter")
        )

    def _keep_note(self, request: Request, visit: Visit) -> Response:
        note = request.form().get("note", "")[: pages.NOTE_CHARACTERS]
        return self._change(
            request, visit, lambda session: self._auth.change_data(session, {"note": note})
        )

    def _change(
        self,
        request: Request,
        visit: Visit,
        change: Callable[[Session], DataChanged | SessionGone],
    ) -> Response:
        outcome = visit.authenticate()
        back = see_other("/#counter")
        match outcome:
            case Active(session=session):
                pass
            case Inactive(reason=InactiveReason.SUPERSEDED):
                return _superseded()
            case Inactive():
                # Something to remember, at last: only now a visitor gets a session.
                started = self._auth.start_anonymous(device=_device(request))
                session = started.session
                visit.issue(started.session_id, started.persist_for)
                back = see_other("/?notice=counting")
            case _:
                assert_never(outcome)
        try:
            changed = change(session)
        except (DataTooLarge, InvalidData):
            return _trouble(
                HTTPStatus.UNPROCESSABLE_ENTITY, "Not kept", "A session cannot hold this."
            )
        match changed:
            case DataChanged():
                return back
            case SessionGone():
                return _signed_out(InactiveReason.UNKNOWN)
            case _:
                assert_never(changed)

    # -- Signing in and out ----------------------------------------------------

    def _sign_in_form(self, request: Request, visit: Visit) -> Response:
        outcome = visit.authenticate()
        match outcome:
            case Active(session=session):
                if session.user_id is not None:
                    return see_other("/")
            case Inactive(reason=InactiveReason.SUPERSEDED):
                return _superseded()
            case Inactive():
                pass
            case _:
                assert_never(outcome)
        return self._sign_in_page(notice=self._noticed(request))

    def _sign_in_page(
        self,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        username: str = "",
        problem: str = "",
        notice: Html = pages.NOTHING,
    ) -> Response:
        page = pages.sign_in(
            pages.Frame(None, "/sign-in", notice),
            demo_username=self._user.USERNAME,
            demo_password=self._user.password(),
            username=username,
            problem=problem,
        )
        return Response(page, status)

    def _sign_in(self, request: Request, visit: Visit) -> Response:
        form = request.form()
        username = form.get("username", "")
        outcome = self._auth.login(
            username,
            form.get("password", ""),
            cookie=visit.cookie,
            policy="remembered" if form.get("remember") == "yes" else None,
            device=_device(request),
            keep=_KEPT_AT_SIGN_IN,
        )
        match outcome:
            case LoggedIn(session_id=session_id, persist_for=persist_for):
                visit.issue(session_id, persist_for)
                return see_other("/?notice=signed-in")
            case Refused():
                # The same words for a wrong name and for a wrong password.
                return self._sign_in_page(
                    HTTPStatus.FORBIDDEN, username=username, problem="Wrong name or password."
                )
            case Throttled() | Busy():
                return _later(outcome)
            case LimitReached(limit=limit):
                return _trouble(
                    HTTPStatus.FORBIDDEN,
                    "Signed in too often",
                    f"You are signed in {limit} times already. Sign out somewhere first.",
                )
            case _:
                assert_never(outcome)

    def _sign_out(self, _request: Request, visit: Visit) -> Response:
        visit.forget()
        try:
            self._auth.logout(visit.cookie)
        except StoreError:
            # The cookie is deleted all the same, and nobody is told a fairy tale.
            return _trouble(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Not quite signed out",
                "This browser has forgotten the session. But the database did not answer, so the "
                "session itself may live on until it expires. Sign in again and use "
                "“Sign out everywhere” to be sure.",
                ("Retry-After", "5"),
            )
        return see_other("/?notice=signed-out")

    # -- My sessions -----------------------------------------------------------

    def _sessions(self, member: Member) -> Response:
        return Response(
            pages.sessions(
                self._frame(member, self._noticed(member.request)),
                member.session,
                self._auth.sessions_of(member.user_id),
                member.policy,
                self._clock.now(),
            )
        )

    def _revoke(self, member: Member) -> Response:
        revoked = self._auth.revoke(member.user_id, member.request.form().get("handle", ""))
        if revoked.ended:
            return see_other("/sessions?notice=revoked")
        return see_other("/sessions?notice=not-found")

    def _sign_out_others(self, member: Member) -> Response:
        ended = self._auth.logout_everywhere(
            member.user_id, keep=member.visit.cookie, arrived_at=member.visit.arrived_at
        )
        if ended.kept is None:  # this one had ended meanwhile, too
            return _signed_out(InactiveReason.UNKNOWN)
        member.visit.issue(ended.kept.session_id, ended.kept.persist_for)
        return see_other("/sessions?notice=others-signed-out")

    def _sign_out_everywhere(self, member: Member) -> Response:
        self._auth.logout_everywhere(member.user_id)
        member.visit.forget()
        return see_other("/?notice=signed-out-everywhere")

    # -- Password and safe -----------------------------------------------------

    def _password_form(self, member: Member) -> Response:
        return Response(pages.password(self._frame(member)))

    def _change_password(self, member: Member) -> Response:
        form = member.request.form()
        new = form.get("new-password", "")
        if len(new) < pages.SHORTEST_PASSWORD:
            return self._password_refused(
                member, f"The new password needs at least {pages.SHORTEST_PASSWORD} characters."
            )
        try:
            outcome = self._auth.change_password(
                member.visit.cookie,
                form.get("password", ""),
                new,
                arrived_at=member.visit.arrived_at,
            )
        except UnacceptablePassword:
            return self._password_refused(member, "The new password is too long.")
        except PasswordChangedButSessionsLive:
            page = pages.password_changed_but_sessions_live(self._frame(member))
            return Response(page, HTTPStatus.SERVICE_UNAVAILABLE)
        match outcome:
            case PasswordChanged(kept=kept):
                if kept is None:  # this session had ended meanwhile
                    return _signed_out(InactiveReason.UNKNOWN)
                member.visit.issue(kept.session_id, kept.persist_for)
                return see_other("/sessions?notice=password-changed")
            case Refused():
                return self._password_refused(member, "The password so far is not right.")
            case Throttled() | Busy():
                return _later(outcome)
            case Inactive(reason=reason):
                return _signed_out(reason)
            case _:
                assert_never(outcome)

    def _password_refused(self, member: Member, problem: str) -> Response:
        return Response(pages.password(self._frame(member), problem), HTTPStatus.FORBIDDEN)

    def _safe(self, member: Member) -> Response:
        frame = self._frame(member, self._noticed(member.request))
        if self._auth.is_fresh(member.session):
            return Response(pages.safe(frame, member.session, member.policy, self._clock.now()))
        return Response(pages.step_up(frame, member.policy))

    def _step_up(self, member: Member) -> Response:
        outcome = self._auth.reauthenticate(
            member.visit.cookie,
            member.request.form().get("password", ""),
            arrived_at=member.visit.arrived_at,
        )
        match outcome:
            case Rotated(session_id=session_id, persist_for=persist_for):
                member.visit.issue(session_id, persist_for)
                return see_other("/safe?notice=stepped-up")
            case Refused():
                page = pages.step_up(self._frame(member), member.policy, "Wrong password.")
                return Response(page, HTTPStatus.FORBIDDEN)
            case Throttled() | Busy():
                return _later(outcome)
            case Inactive(reason=reason):
                return _signed_out(reason)
            case _:
                assert_never(outcome)


# -- Answers that several pages share --------------------------------------------


def _news(request: Request) -> str | None:
    # What a redirect of ours announces; a link on a foreign page announces nothing.
    if request.header("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        return None
    return request.query.get("notice")


def _signed_out(reason: InactiveReason) -> Response:
    if reason is InactiveReason.SUPERSEDED:
        return _superseded()
    if reason is InactiveReason.ABSENT:
        return see_other("/sign-in")
    return see_other("/sign-in?notice=ended")


def _superseded() -> Response:
    # Not a redirect: the browser has the newer id already, or will have in a
    # moment; a browser that never gets it would go round in circles.
    return _trouble(
        HTTPStatus.CONFLICT,
        "Please try again",
        "Your browser sent an id that had just been replaced. It has the new one by now.",
    )


def _later(outcome: Throttled | Busy) -> Response:
    match outcome:
        case Throttled(retry_after=wait):
            seconds = max(1, math.ceil(wait.total_seconds()))
            return _trouble(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many attempts",
                f"Nothing was checked this time. Please wait {seconds} seconds, then try again.",
                ("Retry-After", str(seconds)),
            )
        case Busy():
            return _trouble(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Busy",
                "Too many people are signing in right now. Please try again in a moment.",
                ("Retry-After", "1"),
            )
        case _:
            assert_never(outcome)


def outage(error: StoreError) -> Response:
    """
    The page for a store that does not answer. It says nothing about being signed out.
    """
    doubt = (
        "It is not known whether what you asked for was done; please look before you repeat it."
        if isinstance(error, OutcomeUnknown)
        else "Nothing was changed, and nobody was signed out."
    )
    return _trouble(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Out of order",
        f"The database did not answer. {doubt} Please try again in a moment.",
        ("Retry-After", "5"),
    )


def refused_origin() -> Response:
    """
    The page for a request that does not come from our own pages.
    """
    return _trouble(
        HTTPStatus.FORBIDDEN,
        "Not from here",
        "This request did not come from a page of this site, so nothing was done.",
    )


def _trouble(
    status: HTTPStatus, title: LiteralString, text: str, *headers: tuple[str, str]
) -> Response:
    return Response(pages.trouble(title, text), status, headers=headers)


def _device(request: Request) -> Device:
    # Nobody stands between the browser and this server, so the peer's address is
    # the client's. Behind a proxy it is not, and a header can only be believed
    # if the proxy is known to overwrite it.
    return Device(
        address=request.environ.get("REMOTE_ADDR"), user_agent=request.header("User-Agent")
    )


def _file(name: str, content_type: str) -> Handler:
    response = Response(
        (_HERE / name).read_text("utf-8"),
        content_type=content_type,
        headers=[("Cache-Control", "no-cache")],
    )

    def handler(_request: Request, _visit: Visit) -> Response:
        return response

    return handler
