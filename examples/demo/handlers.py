"""
What the site does: each page and each form asks the session, and matches its outcome.

Read it for the use cases of :class:`~sessioncore_http.RequestSession`. Every match is closed by
:func:`typing.assert_never`: an outcome that a later version of the library adds is a type
error here, not a surprise at night.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, LiteralString, TypeAlias, assert_never

from attrs import evolve

from examples.demo import pages
from examples.demo.inside import answer_to_forgery, parts_of
from examples.demo.web import BadRequest, Html, Request, Response, Stream, see_other
from sessioncore import (
    Active,
    AuthService,
    Busy,
    DataChanged,
    DataRead,
    DataTooLarge,
    Inactive,
    InactiveReason,
    InvalidData,
    Json,
    LimitReached,
    LoggedIn,
    LoggedOutEverywhere,
    PasswordChanged,
    PasswordChangedButSessionsLive,
    Policies,
    Policy,
    Refused,
    Revoked,
    Rotated,
    Session,
    SessionGone,
    SessionId,
    StoreError,
    Throttled,
    UnacceptablePassword,
)
from sessioncore.ports import PasswordCheck
from sessioncore_http import (
    Answer,
    Interruption,
    Problem,
    RequestSession,
    problem_of,
    render,
    try_again,
)
from sessioncore_wsgi import session_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from examples.demo.audit import AuditTrail
    from examples.demo.live import LiveEvents
    from sessioncore.ports import CredentialStore, PasswordHasher
    from sessioncore_http import RequestHead

_KEPT_AT_SIGN_IN: Final = ("counter", "note")
_EVENTS_AT_HOME: Final = 6
_EVENTS_SHOWN: Final = 50
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
    visit: RequestSession
    session: Session
    user_id: str
    policy: Policy


Handler: TypeAlias = Callable[[Request, RequestSession], Response | Stream]
MemberHandler: TypeAlias = Callable[[Member], Response | Stream]


class Site:
    """
    The pages and forms, as a WSGI application behind the session middleware.

    Args:
        auth: The service.

        policies: The same that the service has, to be explained to the user.

        trail: The same that the service reports to.

        live: Streams of it.

        user: The demo's user.
    """

    def __init__(
        self,
        *,
        auth: AuthService,
        policies: Policies,
        trail: AuditTrail,
        live: LiveEvents,
        user: DemoUser,
    ) -> None:
        self._auth = auth
        self._policies = policies
        self._trail = trail
        self._live = live
        self._user = user
        members = self._members
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._home},
            "/counter": {"POST": self._count},
            "/note": {"POST": self._keep_note},
            "/sign-in": {"GET": self._sign_in_form, "POST": self._sign_in},
            "/sign-out": {"POST": self._sign_out},
            "/devices": {"GET": members(self._devices)},
            "/devices/revoke": {"POST": members(self._revoke)},
            "/sign-out-others": {"POST": members(self._sign_out_others)},
            "/sign-out-everywhere": {"POST": members(self._sign_out_everywhere)},
            "/events": {"GET": members(self._events)},
            "/events/stream": {"GET": self._stream},
            "/inside": {"GET": members(self._inside)},
            "/password": {
                "GET": members(self._password_form),
                "POST": members(self._change_password),
            },
            "/safe": {"GET": members(self._safe)},
            "/step-up": {"GET": members(self._step_up_form), "POST": members(self._step_up)},
            "/style.css": {"GET": _file("style.css", "text/css; charset=utf-8")},
            "/live.js": {"GET": _file("live.js", "text/javascript; charset=utf-8")},
            "/icon.svg": {"GET": _file("icon.svg", "image/svg+xml")},
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """
        Answer one request.
        """
        request = Request(environ)
        try:
            response = self._answer(request, session_of(environ))
        except BadRequest as error:
            response = _trouble(error.status, "That did not work", "No form of ours sends this.")
        return response.send(environ, start_response)

    def _answer(self, request: Request, visit: RequestSession) -> Response | Stream:
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
        def guarded(request: Request, visit: RequestSession) -> Response | Stream:
            return handler(self._member(request, visit, visit.require()))

        return guarded

    def _member(self, request: Request, visit: RequestSession, session: Session) -> Member:
        assert session.user_id is not None  # noqa: S101 - require() returns no others
        policy = self._policies.require(session.policy)
        return Member(request, visit, session, session.user_id, policy)

    def _frame(self, member: Member, notice: Html = pages.NOTHING) -> pages.Frame:
        # There is one user; an application would look the name up by the user id.
        return pages.Frame(self._user.USERNAME, member.request.path, notice)

    @staticmethod
    def _noticed(request: Request) -> Html:
        return pages.notice(_news(request))

    # -- Home, and what the session keeps --------------------------------------

    def _home(self, request: Request, visit: RequestSession) -> Response:
        outcome = visit.authenticate()
        match outcome:
            case Active(session=session):
                data = self._auth.read_data(session)
                match data:
                    case DataRead(values=values):
                        return self._home_of(request, visit, session, dict(values))
                    case SessionGone():  # ended between the two reads
                        return see_other("/sign-in")
                    case _:
                        assert_never(data)
            case Inactive(reason=InactiveReason.SUPERSEDED):
                raise Interruption(try_again())
            case Inactive(reason=reason):
                # Just given a cookie, and back without it?
                given = _news(request) in {"signed-in", "counting"}
                lost = given and reason is InactiveReason.ABSENT
                notice = pages.cookie_was_not_kept() if lost else self._noticed(request)
                return Response(pages.visitor_home(pages.Frame(None, "/", notice), {}))
            case _:
                assert_never(outcome)

    def _home_of(
        self, request: Request, visit: RequestSession, session: Session, data: dict[str, Json]
    ) -> Response:
        notice = self._noticed(request)
        if session.user_id is None:
            return Response(pages.visitor_home(pages.Frame(None, "/", notice), data))
        member = self._member(request, visit, session)
        return Response(
            pages.member_home(
                self._frame(member, notice),
                session,
                member.policy,
                data=data,
                events=self._trail.latest(member.user_id, _EVENTS_AT_HOME),
                now=self._auth.now(),
            )
        )

    def _count(self, _request: Request, visit: RequestSession) -> Response:
        return self._change(visit, lambda session: self._auth.increment(session, "counter"))

    def _keep_note(self, request: Request, visit: RequestSession) -> Response:
        note = request.form().get("note", "")[: pages.NOTE_CHARACTERS]
        return self._change(visit, lambda session: self._auth.change_data(session, {"note": note}))

    def _change(
        self, visit: RequestSession, change: Callable[[Session], DataChanged | SessionGone]
    ) -> Response:
        outcome = visit.authenticate()
        back = see_other("/#data")
        match outcome:
            case Active(session=session):
                pass
            case Inactive(reason=InactiveReason.SUPERSEDED):
                raise Interruption(try_again())
            case Inactive():
                # Something to remember, at last: only now a visitor gets a session.
                session = visit.start_anonymous().session
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
                return see_other("/sign-in")
            case _:
                assert_never(changed)

    # -- Signing in and out ----------------------------------------------------

    def _sign_in_form(self, request: Request, visit: RequestSession) -> Response:
        outcome = visit.authenticate()
        target = request.query.get("next", "")
        match outcome:
            case Active(session=session):
                if session.user_id is not None:
                    return see_other(target or "/")
                notice = self._noticed(request)
            case Inactive(reason=InactiveReason.SUPERSEDED):
                raise Interruption(try_again())
            case Inactive(reason=InactiveReason.ABSENT):
                notice = self._noticed(request)
            case Inactive():
                notice = pages.notice("ended")
            case _:
                assert_never(outcome)
        return self._sign_in_page(target, notice=notice)

    def _sign_in_page(
        self,
        target: str,
        status: HTTPStatus = HTTPStatus.OK,
        *,
        username: str = "",
        problem: str = "",
        notice: Html = pages.NOTHING,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        page = pages.sign_in(
            pages.Frame(None, "/sign-in", notice),
            demo_username=self._user.USERNAME,
            demo_password=self._user.password(),
            username=username,
            target=target,
            problem=problem,
        )
        return Response(page, status, headers=tuple(headers))

    def _sign_in(self, request: Request, visit: RequestSession) -> Response:
        form = request.form()
        username, target = form.get("username", ""), form.get("next", "")
        outcome = visit.login(
            username,
            form.get("password", ""),
            policy="remembered" if form.get("remember") == "yes" else None,
            keep=_KEPT_AT_SIGN_IN,
        )
        match outcome:
            case LoggedIn():
                return see_other(target or "/?notice=signed-in")
            case Refused():
                # The same words for a wrong name and for a wrong password.
                return self._sign_in_page(
                    target,
                    HTTPStatus.UNAUTHORIZED,
                    username=username,
                    problem="Wrong name or password.",
                    headers=[_CHALLENGE],
                )
            case Throttled() | Busy() | LimitReached():
                raise Interruption(problem_of(outcome))
            case _:
                assert_never(outcome)

    def _sign_out(self, _request: Request, visit: RequestSession) -> Response:
        try:
            visit.logout()
        except StoreError:
            # The cookie is deleted all the same, and nobody is told a fairy tale.
            return _trouble(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Sign-out not confirmed",
                "This browser has forgotten the session. But the store did not answer, so the "
                "session itself may live on until it expires. Sign in again and use "
                "“Sign out everywhere” to be sure.",
                ("Retry-After", "5"),
            )
        return see_other("/?notice=signed-out")

    # -- My devices ------------------------------------------------------------

    def _devices(self, member: Member) -> Response:
        return Response(
            pages.devices(
                self._frame(member, self._noticed(member.request)),
                member.session,
                member.visit.sessions(),
                member.policy,
                self._auth.now(),
            )
        )

    def _revoke(self, member: Member) -> Response:
        revoked = member.visit.revoke(member.request.form().get("handle", ""))
        match revoked:
            case Revoked(ended=True):
                return see_other("/devices?notice=revoked")
            case Revoked():
                return see_other("/devices?notice=not-found")
            case Inactive():
                return see_other("/sign-in")
            case _:
                assert_never(revoked)

    def _sign_out_others(self, member: Member) -> Response:
        ended = member.visit.logout_everywhere(keep_this=True)
        match ended:
            case LoggedOutEverywhere(kept=Rotated()):
                return see_other("/devices?notice=others-signed-out")
            case LoggedOutEverywhere() | Inactive():  # this one had ended meanwhile, too
                return see_other("/sign-in")
            case _:
                assert_never(ended)

    def _sign_out_everywhere(self, member: Member) -> Response:
        member.visit.logout_everywhere()
        return see_other("/?notice=signed-out-everywhere")

    # -- What just happened ----------------------------------------------------

    def _events(self, member: Member) -> Response:
        events = self._trail.latest(member.user_id, _EVENTS_SHOWN)
        return Response(pages.events(self._frame(member), events))

    def _stream(self, request: Request, visit: RequestSession) -> Response | Stream:
        # Whoever watches is perhaps not there: that keeps no session alive.
        visit.authenticate(passive=True)
        member = self._member(request, visit, visit.require())
        after = request.header("Last-Event-ID") or request.query.get("after", "")
        return Stream(self._live.follow(visit, member.user_id, after))

    # -- What the cookie holds, and what the store holds ------------------------

    def _inside(self, member: Member) -> Response:
        visit = member.visit
        # An application has no business with the cookie. This page is about it.
        presented = SessionId.parse(visit.edge.cookie.presented(visit.head.cookies).text)
        outcome = visit.authenticate()
        renewed = outcome.renewed if isinstance(outcome, Active) else None
        if presented is None:
            raise Interruption(try_again())
        return Response(
            pages.inside(
                self._frame(member),
                member.session,
                member.policy,
                cookie_name=visit.edge.cookie.name,
                presented=parts_of(presented),
                presented_digest=presented.digest,
                brought=parts_of(renewed) if renewed is not None else None,
                forgery=answer_to_forgery(self._auth, member.session),
                now=self._auth.now(),
            )
        )

    # -- Password and safe -----------------------------------------------------

    def _password_form(self, member: Member) -> Response:
        return Response(pages.password(self._frame(member)))

    def _change_password(self, member: Member) -> Response:
        form = member.request.form()
        new = form.get("new-password", "")
        if len(new) < pages.SHORTEST_PASSWORD:
            return self._password_refused(
                member,
                f"The new password needs at least {pages.SHORTEST_PASSWORD} characters.",
                HTTPStatus.UNPROCESSABLE_ENTITY,
            )
        try:
            outcome = member.visit.change_password(form.get("password", ""), new)
        except UnacceptablePassword:
            return self._password_refused(
                member, "The new password is too long.", HTTPStatus.UNPROCESSABLE_ENTITY
            )
        except PasswordChangedButSessionsLive:
            page = pages.password_changed_but_sessions_live(self._frame(member))
            return Response(page, HTTPStatus.SERVICE_UNAVAILABLE)
        match outcome:
            case PasswordChanged(kept=kept):
                if kept is None:  # this session had ended meanwhile
                    return see_other("/sign-in")
                return see_other("/devices?notice=password-changed")
            case Refused():
                return self._password_refused(
                    member, "The password so far is not right.", HTTPStatus.UNAUTHORIZED
                )
            case Throttled() | Busy():
                raise Interruption(problem_of(outcome))
            case Inactive(reason=reason):
                return _ended(reason)
            case _:
                assert_never(outcome)

    def _password_refused(self, member: Member, problem: str, status: HTTPStatus) -> Response:
        headers = [_CHALLENGE] if status is HTTPStatus.UNAUTHORIZED else []
        return Response(pages.password(self._frame(member), problem), status, headers=headers)

    def _safe(self, member: Member) -> Response:
        session = member.visit.require_fresh()
        frame = self._frame(member, self._noticed(member.request))
        return Response(pages.safe(frame, session, member.policy, self._auth.now()))

    def _step_up_form(self, member: Member) -> Response:
        target = member.request.query.get("next", "")
        return Response(pages.step_up(self._frame(member), member.policy, target))

    def _step_up(self, member: Member) -> Response:
        form = member.request.form()
        target = form.get("next", "")
        outcome = member.visit.reauthenticate(form.get("password", ""))
        match outcome:
            case Rotated():
                return see_other(target or "/safe?notice=stepped-up")
            case Refused():
                page = pages.step_up(self._frame(member), member.policy, target, "Wrong password.")
                return Response(page, HTTPStatus.UNAUTHORIZED, headers=[_CHALLENGE])
            case Throttled() | Busy():
                raise Interruption(problem_of(outcome))
            case Inactive(reason=reason):
                return _ended(reason)
            case _:
                assert_never(outcome)


# -- Answers that several pages share --------------------------------------------

# A 401 says how one could do better (RFC 9110, section 15.5.2).
_CHALLENGE: Final = ("WWW-Authenticate", "Cookie")


def rendered(problem: Problem, head: RequestHead) -> Answer:
    """
    Answer a problem in the look of this site; redirects, and what programs get, as it is.
    """
    answer = render(problem, head)
    if not head.wants_page or problem.location is not None:
        return answer
    body = pages.problem(problem, head).encode()
    headers = [(name, value) for name, value in answer.headers if name != "Content-Length"]
    return evolve(answer, headers=(*headers, ("Content-Length", str(len(body)))), body=body)


def not_our_name() -> Response:
    """
    The page for a request that was meant for another site.
    """
    return _trouble(
        HTTPStatus.MISDIRECTED_REQUEST,
        "Not here",
        "No site is served here under this name, so nothing was done.",
    )


def _news(request: Request) -> str | None:
    # What a redirect of ours announces; a link on a foreign page announces nothing.
    if request.header("Sec-Fetch-Site") in {"cross-site", "same-site"}:
        return None
    return request.query.get("notice")


def _ended(reason: InactiveReason) -> Response:
    if reason is InactiveReason.SUPERSEDED:
        raise Interruption(try_again())
    return see_other("/sign-in")


def _trouble(
    status: HTTPStatus, title: LiteralString, text: str, *headers: tuple[str, str]
) -> Response:
    return Response(pages.trouble(title, text), status, headers=headers)


def _file(name: str, content_type: str) -> Handler:
    response = Response(
        (_HERE / name).read_text("utf-8"),
        content_type=content_type,
        headers=[("Cache-Control", "no-cache")],
    )

    def handler(_request: Request, _visit: RequestSession) -> Response:
        return response

    return handler
