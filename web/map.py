"""The Folium map of a job: scenes, heatmap, mask, anomalies, on a base map that needs no internet.

Folium writes what it is given into JavaScript. So only numbers and our own fixed
texts go in: titles of scenes and jobs stay on the page around the map.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import folium
import rasterio
from branca.element import Element
from odc.geo.geobox import GeoBox
from rio_tiler.io import Reader

from geoanomaly.results.map_parts import (
    MAX_OUTLINES,
    STYLE,
    BareMap,
    OpacitySlider,
    Panel,
    Picture,
    add_outlines,
    legend_html,
)
from geoanomaly.results.places import Box, map_box
from geoanomaly.types import Job
from web.assets import BASE_MAP, VENDOR
from web.figure import OPEN_STREET_MAP, Origins, SafeFigure
from web.findings import highest
from web.layers import Layer, Style, layer_path, styles
from web.problems import UnknownFileError
from web.service import Service

PREVIEW_SIDE = 1024
TITLES = {Layer.AFTER: "After", Layer.BEFORE: "Before"}
LAND = {"color": "#90a4ae", "weight": 0.8, "fillColor": "#eeece6", "fillOpacity": 1.0}
NOT_VENDORED = (
    "<b>Needs internet</b><small>The map's scripts were not installed with the service and come "
    "from cdn.jsdelivr.net. <code>python -m web.assets</code> installs them.</small>"
)


@dataclass(frozen=True)
class Sheet:
    """One raster on the map. first_zoom, native_zoom: at which it fills a tile, and at which a
    pixel of the tile is one of its own. ticket: with which the page, which has no origin and so
    no cookie, asks for tiles; None where nobody needs one."""

    layer: Layer
    path: Path
    box: Box
    first_zoom: int
    native_zoom: int
    georeferenced: bool
    ticket: str | None


def render_map(parts: Service, job: Job, origins: Origins) -> str:
    """The page at `/jobs/{id}/map`; every address in it is relative to that place."""
    sheets = sheets_of(parts, job)
    heat = sheets[Layer.HEATMAP]
    page = SafeFigure("geoanomaly map", origins)
    chart = chart_of(heat)
    page.add_child(chart)
    # Before any layer, and at once: else Leaflet first asks for the tiles of another view.
    view = folium.FitBounds(heat.box)
    view.options["animate"] = False
    view.add_to(chart)
    page.header.add_child(Element(STYLE), name="style")
    if heat.georeferenced:
        add_base_maps(chart)
    _add_scenes(chart, job, sheets)
    heatmap = _add_results(chart, sheets)
    _add_anomalies(chart, parts, job, heat)
    folium.LayerControl(collapsed=False, autoZIndex=False).add_to(chart)
    report = _report(parts, job)
    basis = report.get("model", {}).get("calibration_kind", "")
    Panel(legend_html(escape(basis)), "bottomright").add_to(chart)
    if doubt := _doubt(report):
        Panel(f"<b>Doubtful</b><small>{escape(doubt)}</small>", "topleft").add_to(chart)
    OpacitySlider(heatmap).add_to(chart)
    if origins.vendor is None:
        Panel(NOT_VENDORED, "bottomleft").add_to(chart)
    text: str = page.render()
    return text


def _report(parts: Service, job: Job) -> dict[str, Any]:
    """What the run said of itself; empty when that file is gone."""
    path = parts.output(job, "run.json")
    return dict(json.loads(path.read_text())) if path else {}


def _doubt(report: Mapping[str, Any]) -> str:
    """Why the map is not to be trusted as it stands: our own sentences, with numbers only."""
    return " ".join(report.get("comparability", {}).get("reasons", ()))


def sheets_of(parts: Service, job: Job) -> dict[Layer, Sheet]:
    """The rasters of a job that are still there; UnknownFileError without a heatmap."""
    return {sheet.layer: sheet for sheet in _sheets(parts, job)}


def _sheets(parts: Service, job: Job) -> Iterator[Sheet]:
    for layer in (Layer.HEATMAP, Layer.MASK, Layer.BEFORE, Layer.AFTER):
        try:
            yield _sheet(layer, layer_path(parts, job, layer), parts.ticket(job))
        except UnknownFileError:
            if layer is Layer.HEATMAP:
                raise


def _sheet(layer: Layer, path: Path, ticket: str | None) -> Sheet:
    with rasterio.open(path) as raster:
        box = map_box(GeoBox(raster.shape, raster.transform, raster.crs))
        if not raster.crs:
            return Sheet(layer, path, box, 0, 0, False, ticket)
    with Reader(str(path)) as reader:
        zooms = int(reader.minzoom), int(reader.maxzoom)
        return Sheet(layer, path, box, *zooms, True, ticket)


def chart_of(heat: Sheet, **options: Any) -> BareMap:
    (south, west), (north, east) = heat.box
    centre = [(south + north) / 2, (west + east) / 2]
    if heat.georeferenced:
        # tiles=None: Folium's default is a server on the internet.
        return BareMap(
            location=centre, tiles=None, control_scale=True,
            # With whole steps the first view may be half as large as the page allows.
            zoom_snap=0.5, **options,
        )  # fmt: skip
    return BareMap(
        location=centre, tiles=None, crs="Simple", min_zoom=-6, zoom_snap=0.25,
        attribution_control=False, **options,
    )  # fmt: skip


def add_base_maps(chart: BareMap) -> Any:
    """The offline land, and the layer of OpenStreetMap, which is the answer."""
    land = VENDOR / BASE_MAP
    if land.is_file():
        # Under the tiles (200): by itself Leaflet puts every outline above them.
        folium.map.CustomPane("land", z_index=150).add_to(chart)
        folium.GeoJson(
            json.loads(land.read_text()), name="Land", control=False, style_function=lambda _: LAND,
            pane="land", interactive=False, smooth_factor=0.5,
        ).add_to(chart)  # fmt: skip
    return folium.TileLayer(
        f"{OPEN_STREET_MAP}/{{z}}/{{x}}/{{y}}.png", name="OpenStreetMap (internet)",
        attr='&copy; <a href="https://www.openstreetmap.org/copyright">OpenStreetMap</a>',
        overlay=True, show=False, max_zoom=24, max_native_zoom=19, z_index=1,
    ).add_to(chart)  # fmt: skip


def _add_scenes(chart: BareMap, job: Job, sheets: dict[Layer, Sheet]) -> None:
    first = True
    for layer, title in TITLES.items():
        if layer not in sheets or (layer is Layer.BEFORE and job.spec.before is None):
            continue
        sheet = sheets[layer]
        label = title if job.spec.before else "Scene"
        for style in styles(job, layer, sheet.path):
            name = f"{label}, {style.name}"
            raster_layer(sheet, name, _query(style), overlay=False, show=first, z_index=10).add_to(
                chart
            )
            first = False


def _add_results(chart: BareMap, sheets: dict[Layer, Sheet]) -> Any:
    """Mask and heatmap; the answer is the heatmap's layer."""
    if Layer.MASK in sheets:
        raster_layer(sheets[Layer.MASK], "Mask", "", overlay=True, show=False, z_index=20).add_to(
            chart
        )
    heatmap = raster_layer(
        sheets[Layer.HEATMAP], "Heatmap", "", overlay=True, show=True, z_index=30
    )
    return heatmap.add_to(chart)


def _query(style: Style) -> str:
    bands = [("bidx", str(band)) for band in style.bands]
    ranges = [("rescale", f"{low:.9g},{high:.9g}") for low, high in style.stretch]
    return "?" + urlencode(bands + ranges)


def raster_layer(
    sheet: Sheet, name: str, query: str, *, overlay: bool, show: bool, z_index: int, **more: Any
) -> Any:
    """Tiles, or one picture where there is no CRS. more: options of Leaflet's layer."""
    root = f"tiles/{sheet.layer.value}"
    if sheet.ticket:
        query += f"{'&' if query else '?'}ticket={sheet.ticket}"
    if not sheet.georeferenced:
        mark = "&" if query else "?"
        url = f"{root}/preview.png{query}{mark}max_size={PREVIEW_SIDE}"
        look = f"pixels {more.pop('class_name', '')}".strip()
        return Picture(
            url, sheet.box, name=name, overlay=overlay, show=show, z_index=z_index,
            class_name=look, **more,
        )  # fmt: skip
    return folium.TileLayer(
        f"{root}/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png{query}", attr="geoanomaly", name=name,
        overlay=overlay, show=show, z_index=z_index, max_zoom=24,
        # Of a raster that is a speck on the map no smaller tile is asked for.
        max_native_zoom=sheet.native_zoom, min_native_zoom=sheet.first_zoom,
        # Without bounds Leaflet asks for tiles beside the raster, and gets 404s.
        bounds=sheet.box, **more,
    )  # fmt: skip


def _add_anomalies(chart: BareMap, parts: Service, job: Job, heat: Sheet) -> None:
    path = parts.output(job, "anomalies.gpkg")
    # One more than are drawn tells that there are more.
    features = highest(path, MAX_OUTLINES + 1) if path else []
    add_outlines(chart, features, flip=not heat.georeferenced)
