"""Who asks, and whether they may: decided before a route is found or a body is read.

One rule for everything: reading needs the role `read`, all else `submit`; what is exempt is
listed here. Whose things a route then sees is not its business: see `web.service.Parts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

# The very function by which Starlette's router finds a route: the two must never differ.
from starlette._utils import get_route_path
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geoanomaly.access.exposure import CREATE, is_address, is_loopback
from geoanomaly.access.keys import ANYBODY, Key, Principal, Role
from geoanomaly.access.store import KeyStore
from geoanomaly.access.tickets import open_ticket
from geoanomaly.errors import ForbiddenError, GeoanomalyError, InputError, UnauthorizedError
from geoanomaly.logs import about_job
from geoanomaly.settings import Settings
from web.problems import problem, problem_of

COOKIE = "geoanomaly_session"
SAFE = ("GET", "HEAD", "OPTIONS")
FORM_BYTES = 64 * 1024
REQUEST_BYTES = 16 * 2**20
"""Two areas with as many vertices as they may have, written at length."""

MOST_DIGITS = 18

PUBLIC = ("/", "/conformance", "/api", "/healthz", "/sign-in", "/sign-out")
TILES = re.compile(r"/jobs/([^/]+)/tiles/.+")
REQUEST = re.compile(r"/processes/[^/]+/(execution|price)")
UPLOADS = ("/scenes", "/areas")
JOB = re.compile(r"/(?:ui/)?jobs/([0-9a-f]{32})(?:/|$)")


@dataclass(frozen=True)
class Rule:
    """role: that a request needs, None = none.

    body: bytes that it may send; None where the route measures by itself.
    """

    role: Role | None
    body: int | None = FORM_BYTES


def rule_of(method: str, path: str) -> Rule:
    if path in PUBLIC or path.startswith("/static/"):
        return Rule(None)
    if path == "/metrics":
        return Rule(Role.ADMIN)
    if method in SAFE:
        return Rule(Role.READ)
    if REQUEST.fullmatch(path):
        return Rule(Role.SUBMIT, REQUEST_BYTES)
    if path in UPLOADS:
        return Rule(Role.SUBMIT, None)
    return Rule(Role.SUBMIT)


class Guard:
    """ASGI middleware: leaves the `Principal` in `request.state`, or answers by itself."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyStore) -> None:
        self._app, self._settings, self._keys = app, settings, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        path = get_route_path(scope)
        rule = rule_of(request.method, path)
        job = JOB.match(path)
        with about_job(job[1] if job else None):
            try:
                self._check_host(request, path)
                _check_origin(request)
                _check_length(request, rule)
                request.state.principal = await self._admit(request, path, rule)
            except (GeoanomalyError, HTTPException) as error:
                await _refusal(request, path, error)(scope, receive, send)
                return
            await self._app(scope, _measured(receive, rule.body), send)

    async def _admit(self, request: Request, path: str, rule: Rule) -> Principal | None:
        """Who asks; None where a public page is asked for by nobody in particular."""
        if self._is_open(request.scope):
            return ANYBODY
        principal = await run_in_threadpool(self._principal, request, path)
        if rule.role is None:
            return principal
        if principal is None:
            raise UnauthorizedError(
                "This needs an API key: put it into GEOANOMALY_API_KEY, send it as "
                "`Authorization: Bearer KEY`, or sign in at /sign-in. "
                f"The operator makes one with {CREATE}."
            )
        if not principal.role.includes(rule.role):
            raise ForbiddenError(
                f"Your key has the role {principal.role.value}; this needs {rule.role.value}."
            )
        return principal

    def _is_open(self, scope: Scope) -> bool:
        if self._settings.access is not None:
            return not self._settings.access
        # Unset: the addresses of this very request tell, to which and from which it came. A proxy
        # on this machine says for whom it asks. Without a port it is a unix socket.
        ends = (scope.get("server"), scope.get("client"))
        return all(end is None or end[1] is None or is_loopback(end[0]) for end in ends)

    def _principal(self, request: Request, path: str) -> Principal | None:
        """UnauthorizedError for something that is no valid key, rather than to look further."""
        if (sent := request.headers.get("authorization")) is not None:
            scheme, _, token = sent.partition(" ")
            key = self._keys.find(token.strip()) if scheme.lower() == "bearer" else None
            return _of(_good(key))
        tiles = TILES.fullmatch(path)
        if tiles and request.method in SAFE and (ticket := request.query_params.get("ticket")):
            key = _good(open_ticket(ticket, tiles[1], self._keys.get), "ticket")
            return Principal(key.tenant, _reading(key), key)
        if cookie := request.cookies.get(COOKIE):
            _check_origin(request, strict=True)
            return _of(self._keys.session(cookie))
        return None

    def _check_host(self, request: Request, path: str) -> None:
        """Against a foreign page whose name was made to point to this machine (DNS rebinding):
        it would be of the same origin as the service, which there needs no key."""
        if path == "/healthz":
            return
        known, said = self._settings.public_hosts, request.headers.get("host", "")
        host = _name(said)
        if said and not host:
            # Nothing could make an address of it.
            raise InputError(f"The Host header {said!r} is no name.", field="host")
        if not (known or self._is_open(request.scope)):
            return
        if host not in known and not is_address(host) and not is_loopback(host):
            raise InputError(
                f"This service is not called {host!r}. If it is, say so where it starts: "
                f"GEOANOMALY_PUBLIC_HOSTS='[\"{host}\"]', and GEOANOMALY_ACCESS=on if others "
                "than you can reach it.",
                field="host",
            )


def _of(key: Key | None) -> Principal | None:
    return None if key is None else Principal(key.tenant, key.role, key)


def _good(key: Key | None, what: str = "key") -> Key:
    if key is None:
        raise UnauthorizedError(
            f"The {what} is not valid: mistyped, expired or revoked. `geoanomaly keys list` on "
            "the server says which keys are good."
        )
    return key


def _reading(key: Key) -> Role:
    """An operator's ticket opens what the operator sees, and a ticket never writes."""
    return Role.ADMIN if key.role is Role.ADMIN else Role.READ


def _check_origin(request: Request, *, strict: bool = False) -> None:
    """ForbiddenError for a change that a page of another origin asks for.

    A browser sends cookies, and reaches loopback, for whoever asks; and it says who asks. strict:
    for a cookie, which nothing but our pages has to send.
    """
    if request.method in SAFE:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site == "same-origin"
    elif origin is not None:
        ours = _place(origin).netloc == request.headers.get("host") != ""
    else:
        ours = not strict
    if not ours:
        raise ForbiddenError(
            f"A page of {origin or 'another site'} asked for this; only the pages of this service "
            "may. Behind a proxy: it must pass on the Host header."
        )


def _check_length(request: Request, rule: Rule) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > MOST_DIGITS:
        raise HTTPException(400, "Content-Length is no number of bytes.")
    if rule.body is not None and int(length) > rule.body:
        raise _too_large(f"{length} bytes", rule.body)


def _measured(receive: Receive, limit: int | None) -> Receive:
    """Stops a body that did not say its length, or said a wrong one."""
    seen = 0

    async def measured() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if limit is not None and seen > limit:
            raise _too_large("more bytes", limit)
        return message

    return measured


def _too_large(length: str, limit: int) -> HTTPException:
    return HTTPException(413, f"The body has {length}; here the limit is {limit:,}. Send less.")


def _refusal(request: Request, path: str, error: GeoanomalyError | HTTPException) -> Response:
    if isinstance(error, HTTPException):
        return problem(error.status_code, "Request not possible", error.detail)
    wants_page = "text/html" in request.headers.get("accept", "") and request.method == "GET"
    if isinstance(error, UnauthorizedError) and wants_page:
        # Relative, so that it holds under a path prefix.
        up = "../" * (path.count("/") - 1)
        sent = request.scope["query_string"].decode("latin-1")
        query = f"?{sent}" if sent else ""
        return RedirectResponse(f"{up}sign-in?next={quote(path + query, safe='')}", 303)
    return problem_of(error)


def _name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    return (_place(f"//{host}").hostname or "").rstrip(".")


def _place(address: str) -> SplitResult:
    """Its parts; none where it is no address at all."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
