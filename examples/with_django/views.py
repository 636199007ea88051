"""
The pages. ``request.session`` is Django's, ``session_of(request)`` is ``request.sessioncore``.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.utils.html import format_html
from django.views.decorators.http import require_POST

from sessioncore import Inactive, LoggedIn, Rotated
from sessioncore_django import fresh_login_required, login_required, session_of
from sessioncore_http import Interruption, problem_of, safe_target

# -- Who is it? --------------------------------------------------------------------


def home(request: HttpRequest) -> HttpResponse:
    """
    Greet whoever comes.
    """
    name = session_of(request).user_id() or "visitor"
    return HttpResponse(format_html("<p>hello {}</p>", name))


def plain(_request: HttpRequest) -> HttpResponse:
    """
    Never ask for the session: nothing is read, and any cache may keep it.
    """
    return HttpResponse("plain", content_type="text/plain")


@login_required
def account(request: HttpRequest) -> HttpResponse:
    """
    Let in whoever is signed in, and nobody else.
    """
    return HttpResponse(format_html("<p>account of {}</p>", session_of(request).user_id()))


@login_required
def me(request: HttpRequest) -> HttpResponse:
    """
    The same for programs.
    """
    return JsonResponse({"user_id": session_of(request).user_id()})


@fresh_login_required
def secret(_request: HttpRequest) -> HttpResponse:
    """
    Let in who has proven recently who they are.
    """
    return HttpResponse("<p>the secret</p>")


# -- Signing in and out ------------------------------------------------------------


def sign_in(request: HttpRequest) -> HttpResponse:
    """
    Show the form; sign in, and go where it was meant to go.
    """
    if request.method != "POST":
        return HttpResponse(
            format_html(
                '<form method="post"><label>Name <input name="username"></label>'
                '<label>Password <input name="password" type="password"></label>'
                '<label>Remember me <input name="remember" type="checkbox"></label>'
                '<input type="hidden" name="next" value="{}"><button>Sign in</button></form>',
                request.GET.get("next", ""),
            )
        )
    outcome = session_of(request).login(
        request.POST.get("username", ""),
        request.POST.get("password", ""),
        policy="remembered" if "remember" in request.POST else None,
        keep=["note"],
    )
    if isinstance(outcome, LoggedIn):
        return see_other(safe_target(request.POST.get("next"), "/account"))
    raise Interruption(problem_of(outcome))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """
    Sign out.
    """
    request.session.flush()
    return see_other("/")


@login_required
def step_up(request: HttpRequest) -> HttpResponse:
    """
    Ask for the password again; prove identity again.
    """
    if request.method != "POST":
        return HttpResponse(
            format_html(
                '<form method="post"><label>Password <input name="password" type="password">'
                '</label><input type="hidden" name="next" value="{}"><button>It is me</button>'
                "</form>",
                request.GET.get("next", ""),
            )
        )
    outcome = session_of(request).reauthenticate(request.POST.get("password", ""))
    if isinstance(outcome, (Rotated, Inactive)):
        return see_other(safe_target(request.POST.get("next"), "/account"))
    raise Interruption(problem_of(outcome))


# -- Session data ------------------------------------------------------------------


def note(request: HttpRequest) -> HttpResponse:
    """
    Put something into the session, which a visitor gets now; show what is in it.
    """
    if request.method == "POST":
        request.session["note"] = request.POST.get("text", "")
        return see_other("/note")
    return HttpResponse(format_html("<p>{}</p>", request.session.get("note", "no note")))


# -- Devices -----------------------------------------------------------------------


@login_required
def devices(request: HttpRequest) -> HttpResponse:
    """
    List where the user is signed in.
    """
    session = session_of(request)
    this = session.require().handle
    listed = [{"handle": one.handle, "this": one.handle == this} for one in session.sessions()]
    return JsonResponse(listed, safe=False)


@require_POST
@login_required
def revoke(request: HttpRequest) -> HttpResponse:
    """
    Sign one device out.
    """
    session_of(request).revoke(request.POST.get("handle", ""))
    return see_other("/devices")


@require_POST
@login_required
def sign_out_others(request: HttpRequest) -> HttpResponse:
    """
    Sign all other devices out.
    """
    session_of(request).logout_everywhere(keep_this=True)
    return see_other("/devices")


@require_POST
@login_required
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """
    Sign all devices out, this one included.
    """
    session_of(request).logout_everywhere()
    return see_other("/")


def see_other(target: str) -> HttpResponse:
    """
    Send the browser on, with a GET.
    """
    return HttpResponse(status=303, headers={"Location": target})


urlpatterns = [
    path("", home),
    path("plain", plain),
    path("sign-in", sign_in),
    path("sign-out", sign_out),
    path("account", account),
    path("secret", secret),
    path("step-up", step_up),
    path("note", note),
    path("devices", devices),
    path("devices/revoke", revoke),
    path("sign-out-others", sign_out_others),
    path("sign-out-everywhere", sign_out_everywhere),
    path("api/me", me),
]
