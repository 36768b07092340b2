"""Folium's page, made safe: only scripts that are ours or pinned, each with the page's nonce."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from branca.element import CssLink, Element, Figure, JavascriptLink
from jinja2 import Template

from geoanomaly.results.map_page import BODY, zoomable
from web.assets import AssetError, is_vendored, manifest

CDN = "https://cdn.jsdelivr.net"
OPEN_STREET_MAP = "https://tile.openstreetmap.org"


@dataclass(frozen=True)
class Origins:
    """Where the page's scripts come from.

    vendor: relative address of the vendored files, None = not fetched, use Folium's own.
    nonce: what a script must carry to run, new for every page.
    """

    vendor: str | None
    nonce: str

    def resolve(self, url: str) -> str:
        """The address to load instead of one that Folium wrote."""
        if url not in manifest().links:
            raise AssetError(
                f"{url} is not in web/assets.json. Pin it there, or leave out the plugin that "
                "asks for it: the map must work without internet."
            )
        return url if self.vendor is None else f"{self.vendor}/{manifest().links[url]}"

    @property
    def policy(self) -> str:
        """The Content-Security-Policy that goes with the page."""
        own = f"'nonce-{self.nonce}'"
        cdn = CDN if self.vendor is None else ""
        return "; ".join(
            (
                # Even opened by itself the page has no origin: it can read nothing of the service.
                "sandbox allow-scripts allow-popups",
                "default-src 'none'",
                f"script-src {own}",
                f"style-src {own}",
                # Leaflet and Folium set styles on elements, which carry no nonce.
                "style-src-attr 'unsafe-inline'",
                f"img-src 'self' data: {OPEN_STREET_MAP} {cdn}".rstrip(),
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'self'",
            )
        )


def origins(vendor: str) -> Origins:
    """vendor: relative address of the vendored files, used when they are there."""
    return Origins(vendor if is_vendored() else None, secrets.token_urlsafe(16))


class SafeFigure(Figure):
    """A branca figure whose links go through the manifest and whose scripts carry the nonce."""

    _template = Template(
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<title>{{ this.title }}</title>\n"
        "{{ this.safe_header(**kwargs) }}\n</head>\n"
        + BODY
        + "<script nonce='{{ this.origins.nonce }}'>\n{{ this.script.render(**kwargs) }}\n"
        "</script>\n</body>\n</html>\n"
    )

    def __init__(self, title: str, origins: Origins) -> None:
        super().__init__(title=title)
        self.origins = origins

    def safe_header(self, **kwargs: Any) -> str:
        return "\n".join(self._head_part(part, kwargs) for part in self.header._children.values())

    def _head_part(self, part: Element, kwargs: Mapping[str, Any]) -> str:
        nonce = self.origins.nonce
        if isinstance(part, JavascriptLink):
            return f"<script nonce='{nonce}' src='{self.origins.resolve(part.url)}'></script>"
        if isinstance(part, CssLink):
            href = self.origins.resolve(part.url)
            return f"<link nonce='{nonce}' rel='stylesheet' href='{href}'>"
        # Folium's own head parts are templates with numbers only; nothing of a user is in them.
        text = zoomable(part.render(**kwargs))
        return re.sub(r"<(script|style)(?=[\s>])", rf"<\1 nonce='{nonce}'", text)
