"""What every answer says to a browser, unless a route has said something better."""

from __future__ import annotations

from collections.abc import Mapping

from starlette._utils import get_route_path
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Mapping[str, str] = {
    # Pages bring their own; data runs nothing and is shown in no frame.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # OpenStreetMap wants to know who asks for its tiles, and needs no more than the origin.
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Somebody else may sit at this browser next.
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000"


def headers_of(scope: Scope) -> dict[str, str]:
    found = dict(HEADERS)
    path = get_route_path(scope)
    if path.startswith("/static/") or "/tiles/" in path or path == "/favicon.ico":
        # The map's frame has no origin at all, so that its scripts and tiles are always foreign.
        found["Cross-Origin-Resource-Policy"] = "cross-origin"
    if path.startswith("/static/"):
        # The files of the program are nobody's.
        del found["Cache-Control"]
    if scope.get("scheme") == "https":
        found["Strict-Transport-Security"] = HSTS
    return found


class SecurityHeaders:
    """ASGI middleware, outside of everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        # Now: a mounted application will move the path.
        ours = headers_of(scope)

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ours.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, secured)
