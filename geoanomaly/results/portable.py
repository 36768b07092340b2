"""A map in one HTML file: pictures and outlines inside it, nothing to fetch.

Folium writes what it is given into JavaScript, so only numbers and our own fixed texts
go in.
"""

from __future__ import annotations

import base64
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import folium
import rasterio
from branca.element import CssLink, Element, Figure, JavascriptLink, MacroElement
from folium.template import Template
from odc.geo.geobox import GeoBox

from geoanomaly.results.legend import LEVELS
from geoanomaly.results.map_page import BODY, zoomable
from geoanomaly.results.map_parts import (
    STYLE,
    THRESHOLD_FILTER,
    BareMap,
    OpacitySlider,
    Panel,
    Picture,
    add_outlines,
    legend_html,
)
from geoanomaly.results.pictures import (
    Backdrop,
    encoded,
    heat_picture,
    level_picture,
    picture_grid,
    scene_picture,
)
from geoanomaly.results.pictures import Picture as Pixels
from geoanomaly.results.places import Box, map_box

MAX_SIDE = 1600


@dataclass(frozen=True)
class Leaflet:
    """The text of Leaflet's two files."""

    script: str
    style: str


def installed_leaflet() -> Leaflet | None:
    """The copy that was fetched at set-up; None = not there, Folium's own address is used.

    The file is looked up by name: nothing of the web package is imported.
    """
    web = importlib.util.find_spec("web")
    if web is None or web.origin is None:
        return None
    folder = Path(web.origin).parent / "static" / "vendor" / "leaflet"
    if not (folder / "leaflet.js").is_file():
        return None
    return Leaflet((folder / "leaflet.js").read_text(), (folder / "leaflet.css").read_text())


class _Whole(Figure):
    """A branca figure with Leaflet's text in place of links to it."""

    _template = Template(
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<title>{{ this.title }}</title>\n{{ this.whole_header(**kwargs) }}\n</head>\n"
        + BODY
        + "<script>\n{{ this.script.render(**kwargs) }}\n"
        "</script>\n</body>\n</html>\n"
    )

    def __init__(self, title: str, leaflet: Leaflet | None) -> None:
        super().__init__(title=title)
        self.leaflet = leaflet

    def whole_header(self, **kwargs: Any) -> str:
        parts: Iterable[Element] = self.header._children.values()
        return "\n".join(self._head_part(part, kwargs) for part in parts)

    def _head_part(self, part: Element, kwargs: Mapping[str, Any]) -> str:
        if self.leaflet is not None and isinstance(part, JavascriptLink):
            return f"<script>\n{self.leaflet.script}\n</script>"
        if self.leaflet is not None and isinstance(part, CssLink):
            # Its pictures are of markers and of a button that this map has no need of.
            return f"<style>\n{re.sub(r'url[(][^)]*[)]', 'none', self.leaflet.style)}\n</style>"
        return zoomable(part.render(**kwargs))


class Sliders(MacroElement):
    """A threshold that shows what lies above it, and a swipe between two dates.

    layers: "above", and "before" and "after" where there are two dates; outlines may be None.
    """

    _template = Template(
        """
        {% macro script(this, kwargs) %}
        (function () {
            var map = {{ this._parent.get_name() }}, above = {{ this.above.get_name() }};
            var table = document.getElementById('levels'), alpha = table.dataset.alpha;
            var threshold = document.getElementById('threshold');
            threshold.addEventListener('input', function () {
                var level = Number(threshold.value), surprise = level / {{ this.levels }};
                var values = [];
                for (var i = 0; i < 256; i++) values.push(i >= level ? alpha : 0);
                table.setAttribute('tableValues', values.join(' '));
                var odds = Math.round(Math.pow(10, surprise)).toLocaleString('en');
                document.getElementById('told').textContent =
                    'Surprise ' + surprise.toFixed(2) + ' and more: 1 normal pixel in ' + odds;
                above.addTo(map);
                {%- if this.outlines %}
                {{ this.outlines.get_name() }}.setStyle(function (feature) {
                    return {opacity: feature.properties.peak >= surprise ? 1 : 0};
                });
                {%- endif %}
            });
            {%- if this.pair %}
            var swipe = document.getElementById('swipe');
            function cut() {
                var size = map.getSize(), from = map.containerPointToLayerPoint([0, 0]);
                var right = from.x + size.x * swipe.value / 100, bottom = from.y + size.y;
                map.getPane('before').style.clip =
                    'rect(' + from.y + 'px, ' + right + 'px, ' + bottom + 'px, ' + from.x + 'px)';
            }
            swipe.addEventListener('input', cut);
            map.on('move zoomend viewreset resize', cut);
            cut();
            {%- endif %}
        })();
        {% endmacro %}
        """
    )

    def __init__(self, above: Any, outlines: Any | None, *, pair: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._name = "Sliders"
        self.above, self.outlines, self.pair, self.levels = above, outlines, pair, LEVELS

    @staticmethod
    def html(*, pair: bool, threshold: float) -> str:
        swipe = (
            "<label><input id='swipe' type='range' value='0'>"
            "<small>Before, from the left</small></label>"
        )
        level = max(LEVELS, min(round(threshold * LEVELS), 255))
        return (
            f"<label><input id='threshold' type='range' min='{LEVELS}' max='255' value='{level}' "
            "aria-label='Threshold'></label>"
            f"<small id='told'>Threshold: move it to see what lies above.</small>"
            f"{swipe if pair else ''}"
        )


def portable_map(
    heatmap: Path,
    backdrops: Sequence[Backdrop],
    outlines: Sequence[Mapping[str, Any]],
    *,
    threshold: float,
    basis: str = "",
    doubts: Sequence[str] = (),
) -> str:
    """HTML with the scenes, the heatmap and its anomalies.

    outlines: GeoJSON features in WGS 84, or in pixels (x, row) where there is no CRS, of
        which the first `MAX_OUTLINES` are drawn with numbers only.
    threshold: in surprise, where the slider begins.
    basis, doubts: our own words on what the values rest on.
    """
    with rasterio.open(heatmap) as raster:
        whole = GeoBox(raster.shape, raster.transform, raster.crs)
    placed, box = whole.crs is not None, map_box(whole)
    chart = _chart(placed, box)
    page = _Whole("geoanomaly map", installed_leaflet())
    page.add_child(chart)
    view = folium.FitBounds(box)
    view.options["animate"] = False
    view.add_to(chart)
    page.header.add_child(Element(STYLE), name="style")
    # A picture is laid on a box of the map, so it has to be in the map's projection.
    grid = picture_grid(heatmap, MAX_SIDE, "EPSG:3857" if placed else None)
    box = map_box(grid) if placed else box
    pair = len(backdrops) > 1
    # The last date below, and the first one above it as far as it is swiped.
    for number, (scene, pane) in enumerate(
        zip(reversed(backdrops), ("after", "before"), strict=False)
    ):
        folium.map.CustomPane(pane, z_index=210 + 10 * number).add_to(chart)
        _add(
            chart, box, "webp", scene_picture(scene, grid), scene.title,
            overlay=True, show=True, pane=pane,
        )  # fmt: skip
    heat = _add(
        chart, box, "png", heat_picture(heatmap, grid), "Heatmap",
        overlay=True, show=True, z_index=30,
    )  # fmt: skip
    above = _add(
        chart, box, "png", level_picture(heatmap, grid), "Above the threshold",
        overlay=True, show=False, z_index=40, class_name="above",
    )  # fmt: skip
    drawn = add_outlines(chart, outlines, flip=not placed)
    folium.LayerControl(collapsed=False, autoZIndex=False).add_to(chart)
    sliders = Sliders.html(pair=pair, threshold=threshold)
    # One panel: two would cover each other on a narrow screen.
    Panel(legend_html(escape(basis)) + sliders, "bottomright").add_to(chart)
    if doubts:
        Panel(f"<b>Doubtful</b><small>{escape(' '.join(doubts))}</small>", "topleft").add_to(chart)
    OpacitySlider(heat).add_to(chart)
    page.html.add_child(Element(THRESHOLD_FILTER), name="above")
    Sliders(above, drawn, pair=pair).add_to(chart)
    text: str = page.render()
    return text


def _chart(placed: bool, box: Box) -> BareMap:
    (south, west), (north, east) = box
    options = {} if placed else {"crs": "Simple", "min_zoom": -6, "attribution_control": False}
    return BareMap(
        location=[(south + north) / 2, (west + east) / 2], tiles=None, control_scale=placed,
        prefer_canvas=True, zoom_snap=0.25, **options,
    )  # fmt: skip


def _add(chart: BareMap, box: Box, kind: str, picture: Pixels, name: str, **options: Any) -> Any:
    url = f"data:image/{kind};base64," + base64.b64encode(encoded(picture, kind)).decode()
    look = f"pixels {options.pop('class_name', '')}".strip()
    return Picture(url, box, name=name, class_name=look, **options).add_to(chart)
