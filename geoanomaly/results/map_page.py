"""The page around a map of Folium's, without importing Folium."""

from __future__ import annotations

import re

BODY = (
    "<body>\n<main>\n<h1 class='unseen'>{{ this.title }}</h1>\n"
    "{{ this.html.render(**kwargs) }}\n</main>\n"
)
"""Of a page that is a map, for those who hear it."""


def zoomable(head: str) -> str:
    """A part of Folium's head, without its ban on zooming the page."""
    return re.sub(r",\s*maximum-scale=1.0,\s*user-scalable=no", "", head)
