"""The map inside the result page: Folium's layers, steered from outside by messages.

It runs in a sandboxed frame without an origin. The page around it sends numbers and
names of layers, and hears what is pointed at (`web/static/job/frame.js`); no text of a
user goes either way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import folium
from branca.element import Element, MacroElement
from folium.template import Template

from geoanomaly.results.map_parts import STYLE, THRESHOLD_FILTER
from geoanomaly.types import Job
from web.figure import Origins, SafeFigure
from web.layers import Layer
from web.map import Sheet, add_base_maps, chart_of, raster_layer, sheets_of
from web.service import Service

SCRIPT = "<script src='../../static/job/frame.js'></script>"
_FIRST = (Layer.AFTER, Layer.HEATMAP)
FRAME_STYLE = """
<style>
  .swipe { position: absolute; inset: 0 auto 0 50%; width: 0; z-index: 800; }
  .swipe::before {
    content: ''; position: absolute; top: 0; bottom: 0; left: -1.5px; width: 3px;
    background: #fff; box-shadow: 0 0 4px rgba(0, 0, 0, .6);
  }
  .swipe button {
    position: absolute; top: 50%; left: -22px; width: 44px; height: 44px; margin-top: -22px;
    border: 0; border-radius: 50%; background: #fff; color: #1b2733; cursor: ew-resize;
    box-shadow: 0 1px 6px rgba(0, 0, 0, .5); font: 700 15px/1 system-ui, sans-serif;
    touch-action: none;
  }
  .swipe button:focus-visible { outline: 3px solid #0b7285; outline-offset: 2px; }
  .swipe span {
    position: absolute; top: 10px; padding: 2px 9px; border-radius: 4px; white-space: nowrap;
    background: rgba(20, 28, 34, .8); color: #fff; font: 12px/1.5 system-ui, sans-serif;
  }
  .swipe span:first-of-type { right: 12px; }
  .swipe span:last-of-type { left: 12px; }
  body .leaflet-container.reading { cursor: crosshair; }
</style>
"""


class Steered(MacroElement):
    """Hands Folium's map and layers to the script that listens to the page."""

    _template = Template(
        """
        {% macro script(this, kwargs) %}
        steer({{ this._parent.get_name() }}, {
            {%- for name, layer in this.layers.items() %}
            {{ name|tojson }}: {{ layer.get_name() }},
            {%- endfor %}
        }, {{ this.options|tojson }});
        {% endmacro %}
        """
    )

    def __init__(self, layers: dict[str, Any], options: dict[str, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = "Steered"
        self.layers, self.options = layers, options


def render_frame(parts: Service, job: Job, origins: Origins) -> str:
    """The page at `/jobs/{id}/frame`; its addresses are relative to that place."""
    sheets = sheets_of(parts, job)
    heat = sheets[Layer.HEATMAP]
    page = SafeFigure("geoanomaly map", origins)
    chart = chart_of(heat, prefer_canvas=True)
    page.add_child(chart)
    view = folium.FitBounds(heat.box)
    view.options["animate"] = False
    view.add_to(chart)
    for name, part in (("style", STYLE), ("frame-style", FRAME_STYLE), ("frame", SCRIPT)):
        page.header.add_child(Element(part), name=name)
    page.html.add_child(Element(THRESHOLD_FILTER), name="above")
    base = add_base_maps(chart) if heat.georeferenced else None
    layers = _layers(chart, job, sheets)
    if base is not None:
        layers["internet"] = base
    options = {
        "box": heat.box,
        "placed": heat.georeferenced,
        # A pixel of the heatmap then has some ten pixels of the screen.
        "deepest": heat.native_zoom + 3,
    }
    Steered(layers, options).add_to(chart)
    text: str = page.render()
    return text


def _layers(chart: Any, job: Job, sheets: dict[Layer, Sheet]) -> dict[str, Any]:
    """Those that there are, each in a pane of its own, so that one can be cut at the swipe."""
    heat = sheets[Layer.HEATMAP]
    scenes = (Layer.BEFORE, Layer.AFTER)
    wanted: dict[Layer, Sheet] = {name: sheets[name] for name in scenes if name in sheets}
    if job.spec.before is None:
        wanted.pop(Layer.BEFORE, None)
    wanted[Layer.HEATMAP] = heat
    wanted[Layer.SURPRISE] = replace(heat, layer=Layer.SURPRISE)
    found = {}
    for number, (name, sheet) in enumerate(wanted.items()):
        folium.map.CustomPane(name.value, z_index=210 + 10 * number).add_to(chart)
        look: dict[str, Any] = {"class_name": "above"} if name is Layer.SURPRISE else {}
        layer = raster_layer(
            sheet, name.value, "", overlay=True, show=name in _FIRST, z_index=1,
            pane=name.value, **look,
        )  # fmt: skip
        found[name.value] = layer.add_to(chart)
    return found
