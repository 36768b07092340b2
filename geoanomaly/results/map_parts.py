"""What our Folium maps have beside Folium's own: legend, opacity slider, a note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import folium
from branca.element import MacroElement
from folium.map import Layer
from folium.template import Template

from geoanomaly.results.legend import RAMP, RGBA, UNIT

MAX_OUTLINES = 2000
OUTLINE = {"color": "#00e5ff", "weight": 2, "fill": True, "fillOpacity": 0.0}
FIELDS = {
    "id": "Anomaly",
    "peak": "Peak surprise",
    "mean": "Mean surprise",
    "area": "Area (m²)",
    "pixels": "Pixels",
}
STYLE = """
<style>
  /* 'body' before the names: Leaflet's own style sheet comes later in the page. */
  body .leaflet-container { background: #c6d9e3; font: 13px/1.45 system-ui, sans-serif; }
  main { height: 100%; }
  body .pixels { image-rendering: pixelated; }
  .panel {
    background: rgba(255, 255, 255, .93); color: #1b2733; padding: 8px 11px; border-radius: 8px;
    box-shadow: 0 1px 5px rgba(0, 0, 0, .3); max-width: 245px;
  }
  .panel b { display: block; font-size: 13px; }
  .panel small { display: block; color: #52616f; line-height: 1.3; margin: 1px 0 5px; }
  .panel .row { display: flex; align-items: center; gap: 7px; white-space: nowrap; }
  .panel .swatch {
    width: 20px; height: 13px; border-radius: 3px; flex: none;
    border: 1px solid rgba(0, 0, 0, .25);
  }
  .panel .range { width: 46px; font-variant-numeric: tabular-nums; }
  .panel .what { color: #52616f; }
  .panel input[type=range] { width: 100%; margin: 7px 0 0; accent-color: #bd0026; }
  body .leaflet-popup-content table {
    border-collapse: collapse; font-variant-numeric: tabular-nums;
  }
  body .leaflet-popup-content th {
    text-align: left; font-weight: 500; color: #52616f; padding-right: 12px;
  }
  body .leaflet-popup-content td { text-align: right; }
  .foliumpopup table { margin: auto; }
  .unseen {
    position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden;
    clip-path: inset(50%); white-space: nowrap;
  }
  .above img.leaflet-tile, img.above { filter: url(#above); }
  .levels { position: absolute; }
</style>
"""

ABOVE = (222 / 255, 45 / 255, 138 / 255, 0.85)
"""Red, green, blue and alpha of what lies above the threshold."""

THRESHOLD_FILTER = (
    "<svg class='levels' width='0' height='0' aria-hidden='true'>"
    "<filter id='above' x='0' y='0' width='1' height='1' color-interpolation-filters='sRGB'>"
    "<feColorMatrix values='{} 1 0 0 0 0'/>"
    "<feComponentTransfer><feFuncA id='levels' data-alpha='{}' type='discrete' tableValues='0'/>"
    "</feComponentTransfer></filter></svg>"
).format("".join(f"0 0 0 0 {part:.3f} " for part in ABOVE[:3]), ABOVE[3])
"""Grey levels become one colour where they reach the threshold: nothing is fetched anew."""


class BareMap(folium.Map):
    """A Folium map that loads Leaflet and nothing else: no jQuery, no Bootstrap, no icon fonts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.default_js = [entry for entry in self.default_js if entry[0] == "leaflet"]
        self.default_css = [entry for entry in self.default_css if entry[0] == "leaflet_css"]


class Picture(Layer):
    """One picture laid on a box. Folium's own ImageOverlay reads any relative address as a file."""

    _template = Template(
        """
        {% macro script(this, kwargs) %}
        var {{ this.get_name() }} = L.imageOverlay(
            {{ this.url|tojson }}, {{ this.box|tojson }}, {{ this.options|tojavascript }}
        );
        {% endmacro %}
        """
    )

    def __init__(self, url: str, box: list[list[float]], **options: Any) -> None:
        shown = {key: options.pop(key) for key in ("name", "overlay", "show")}
        super().__init__(**shown)
        self._name = "Picture"
        self.url, self.box, self.options = url, box, options


class Panel(MacroElement):
    """A box of fixed HTML in a corner of the map."""

    _template = Template(
        """
        {% macro script(this, kwargs) %}
        (function () {
            var control = L.control({position: {{ this.position|tojson }}});
            control.onAdd = function () {
                var box = L.DomUtil.create('div', 'panel');
                box.innerHTML = {{ this.body|tojson }};
                L.DomEvent.disableClickPropagation(box);
                L.DomEvent.disableScrollPropagation(box);
                return box;
            };
            control.addTo({{ this._parent.get_name() }});
        })();
        {% endmacro %}
        """
    )

    def __init__(self, body: str, position: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = "Panel"
        self.body, self.position = body, position


class OpacitySlider(MacroElement):
    """Ties the range input of the legend to the opacity of one layer."""

    _template = Template(
        """
        {% macro script(this, kwargs) %}
        document.getElementById('opacity').addEventListener('input', function (event) {
            {{ this.layer.get_name() }}.setOpacity(Number(event.target.value) / 100);
        });
        {% endmacro %}
        """
    )

    def __init__(self, layer: MacroElement) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = "OpacitySlider"
        self.layer = layer


def legend_html(basis: str) -> str:
    """The ramp with its units, and the slider for the layer that it explains.

    basis: what its shares rest on; empty when unknown.
    """
    name, _, unit = UNIT.partition(": ")
    note = basis and f"; {basis}"
    rows = "".join(
        f"<div class='row'><span class='swatch' style='background:{_css(step.colour)}'></span>"
        f"<span class='range'>{_range(step.low, step.high)}</span>"
        f"<span class='what'>{step.meaning}</span></div>"
        for step in RAMP
    )
    slider = (
        "<label><input id='opacity' type='range' min='0' max='100' value='100' "
        "aria-label='Opacity of the heatmap'><small>Opacity of the heatmap</small></label>"
    )
    return f"<b>{name.capitalize()}</b><small>{unit}{note}</small>{rows}{slider}"


def _css(colour: RGBA) -> str:
    red, green, blue, alpha = colour
    return f"rgba({red},{green},{blue},{alpha / 255:.2f})"


def _range(low: float, high: float) -> str:
    return f"{low:g}–{high:g}" if high < 1e6 else f"≥ {low:g}"


def add_outlines(chart: folium.Map, features: Sequence[Mapping[str, Any]], *, flip: bool) -> Any:
    """The layer of the `strongest` anomalies (GeoJSON features), with numbers only; or None."""
    shown = strongest(features, flip=flip)
    if not shown:
        return None
    few = "strongest " if len(shown) < len(features) else ""
    labels = {key: text for key, text in FIELDS.items() if key in shown[0]["properties"]}
    return folium.GeoJson(
        {"type": "FeatureCollection", "features": shown}, name=f"Anomalies ({few}{len(shown)})",
        style_function=lambda _: OUTLINE,
        popup=folium.GeoJsonPopup(list(labels), aliases=list(labels.values()), localize=True),
    ).add_to(chart)  # fmt: skip


def strongest(features: Sequence[Mapping[str, Any]], *, flip: bool) -> list[dict[str, Any]]:
    """The anomalies with the highest peaks, with numbers only for properties.

    flip: from pixels (x, row) to Leaflet's simple grid (x, -row).
    """
    best = sorted(features, key=lambda f: -float(f["properties"].get("peak") or 0))
    return [_numbers_only(feature, flip=flip) for feature in best[:MAX_OUTLINES]]


def _numbers_only(feature: Mapping[str, Any], *, flip: bool) -> dict[str, Any]:
    given = feature["properties"]
    values = {"id": given.get("id", feature.get("id")), "peak": given.get("peak")}
    values |= {"mean": given.get("mean"), "area": given.get("area_m2")}
    if not _known(values["area"]):
        # Without a CRS there are no square metres.
        values["pixels"] = given.get("pixels")
    numbers = {
        key: round(float(value), 2 if key in ("peak", "mean") else 0)
        for key, value in values.items()
        if _known(value)
    }
    geometry = feature["geometry"]
    if flip:
        geometry = {**geometry, "coordinates": _flipped(geometry["coordinates"])}
    return {"type": "Feature", "properties": numbers, "geometry": geometry}


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _flipped(coordinates: Any) -> Any:
    if isinstance(coordinates[0], int | float):
        return [coordinates[0], -coordinates[1]]
    return [_flipped(part) for part in coordinates]
