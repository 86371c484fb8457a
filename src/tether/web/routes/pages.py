"""The pages: log in, log out, and a task seen through a link."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tether.errors import TetherError
from tether.task import Answer
from tether.web import logins, pages
from tether.web.bodies import read
from tether.web.problems import Refused, status_of
from tether.web.routes.links import shown, use, used
from tether.web.service import Service, service_of

__all__ = ["router"]

router = APIRouter(include_in_schema=False)
_MOST_FORM_BYTES = 256 * 1024
_CHANGES = ("retry", "cancel", "escalate")


async def _form(request: Request, service: Service) -> dict[str, str]:
    """The fields of a posted form, from a page of ours."""
    origin = request.headers.get("origin")
    if origin not in (None, "null") and urlsplit(origin or "").netloc != request.headers.get("host"):
        raise Refused("not_authorised", "the form comes from another origin")
    body = await read(request, _MOST_FORM_BYTES, service.settings.api.body_s)
    try:
        return {key: value.replace("\0", "") for key, value in parse_qsl(body.decode(), max_num_fields=20)}
    except ValueError:
        raise Refused("malformed", "the form cannot be read") from None


@router.get("/")
async def home(request: Request) -> Response:
    """Who is logged in."""
    service = service_of(request)
    login = logins.read(service.vault, request.headers.get("cookie", ""))
    caller = request.scope["state"].get("caller")
    if login is None or caller is None:
        return RedirectResponse("/login", 303)
    return pages.home(caller.name, logins.csrf_token(service.vault, login))


@router.get("/login")
async def ask(request: Request) -> Response:  # noqa: ARG001
    """The form."""
    return pages.login()


@router.post("/login")
async def login(request: Request) -> Response:
    """A key for a cookie."""
    service = service_of(request)
    form = await _form(request, service)
    address = request.client.host if request.client else ""
    caller = await service.access.caller(form.get("key", "").strip(), address)
    if caller is None:
        return pages.login("This key is not valid.", 401)
    hours = service.settings.api.login_hours
    _, value = logins.make(service.vault, caller.key_id, hours)
    secure = service.url.startswith("https://")
    return RedirectResponse("/", 303, {"Set-Cookie": logins.cookie(value, hours=hours, secure=secure)})


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Takes the cookie back; only for a form of our own page."""
    service = service_of(request)
    found = logins.read(service.vault, request.headers.get("cookie", ""))
    form = await _form(request, service)
    if found is not None and form.get("csrf") != logins.csrf_token(service.vault, found):
        raise Refused("not_authorised", "the form is not of this login")
    secure = service.url.startswith("https://")
    return RedirectResponse("/login", 303, {"Set-Cookie": logins.cookie("", hours=0, secure=secure)})


@router.get("/l/{token}")
async def link(request: Request, token: str) -> Response:
    """A task seen through a link."""
    try:
        found, task = await used(service_of(request), token)
    except Refused as error:
        return pages.page("Your task", f"<p>{error.detail}</p>", error.status_code)
    return pages.link(shown(task, found), token)


@router.post("/l/{token}")
async def act(request: Request, token: str) -> Response:
    """One action of the page's forms."""
    service = service_of(request)
    found, task = await used(service, token)
    form = await _form(request, service)
    action = form.get("action", "")
    seen = shown(task, found)
    address = request.client.host if request.client else ""
    try:
        add = seen["may_add"] if action == "approve" else {}
        answer = Answer(decision=action, add=add, text=form.get("text", "")) if action not in _CHANGES else None
        await use(service, found, task, action, answer, address)
    except TetherError as error:
        return pages.link(seen, token, str(error), status_of(error))
    return RedirectResponse(f"/l/{token}", 303)
