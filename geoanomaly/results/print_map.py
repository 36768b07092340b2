"""The map on paper: an A4 page at 300 dpi with legend and scale bar."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle
from odc.geo.geobox import GeoBox
from pyproj import Geod

from geoanomaly.results.legend import RAMP, shares
from geoanomaly.results.pictures import heat_picture, picture_grid, scene_picture
from geoanomaly.results.places import Places
from geoanomaly.results.regions import outlines
from geoanomaly.results.source import Source

LONG, SHORT, MARGIN, LEGEND = 11.69, 8.27, 0.45, 2.35
DPI = 300
MAX_SIDE = 2600
MAX_OUTLINES = 2000
NUMBERED = 20
COLUMNS = 38


def print_map(source: Source, target: Path) -> None:
    """A PNG; the scene under the heatmap, outlines with numbers of the strongest."""
    grid = picture_grid(source.heatmap, MAX_SIDE, source.crs)
    height, width = grid.shape
    landscape = width >= 0.9 * height
    size = (LONG, SHORT) if landscape else (SHORT, LONG)
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    left, bottom = MARGIN / size[0], MARGIN / size[1]
    right = 1 - (LEGEND + MARGIN) / size[0]
    axis = figure.add_axes((left, bottom, right - left, 1 - 2 * bottom))
    axis.set_anchor("NW")
    if source.backdrops:
        axis.imshow(scene_picture(source.backdrops[-1], grid), interpolation="nearest")
    axis.imshow(heat_picture(source.heatmap, grid), interpolation="nearest")
    _draw_outlines(axis, source, grid)
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    _draw_scale(axis, grid)
    _draw_north(axis, grid)
    _write_legend(figure, source, right + 0.2 / size[0])
    figure.savefig(target, format="png", metadata={"Software": None})


def _draw_outlines(axis: Any, source: Source, grid: GeoBox) -> None:
    shown = source.regions[:MAX_OUTLINES]
    if not shown:
        return
    import geopandas

    crs = source.hot.crs and source.hot.crs.to_wkt()
    shapes = geopandas.GeoSeries(outlines(shown, source.hot.transform), crs=crs)
    if crs and grid.crs is not None:
        shapes = shapes.to_crs(grid.crs.to_wkt())
    inverse = ~grid.affine

    def pixels(points: Any) -> Any:
        x, y = points.T
        col = inverse.a * x + inverse.b * y + inverse.c
        row = inverse.d * x + inverse.e * y + inverse.f
        return np.column_stack([col, row]) - 0.5

    for number, shape in enumerate(shapely.transform(shapes.to_numpy(), pixels), start=1):
        for part in shapely.get_parts(shape):
            axis.plot(*part.exterior.xy, color="#00b8d4", linewidth=0.7)
        if number <= NUMBERED:
            minx, miny, _, _ = shape.bounds
            axis.annotate(
                str(number), (minx, miny), xytext=(-1, 1), textcoords="offset points",
                ha="right", va="bottom", fontsize=6, color="white",
                bbox={"boxstyle": "round,pad=0.15", "color": "#14323a", "linewidth": 0},
            )  # fmt: skip


def scale_bar(metres_across: float) -> float:
    """A round length of about a fifth of the map's width, in metres."""
    wanted = metres_across / 5
    power = 10 ** np.floor(np.log10(wanted))
    return float(max(step * power for step in (1, 2, 5) if step * power <= wanted))


def _draw_scale(axis: Any, grid: GeoBox) -> None:
    height, width = grid.shape
    if grid.crs is None:
        return
    box = grid.geographic_extent.boundingbox
    middle = (box.bottom + box.top) / 2
    across = float(Geod(ellps="WGS84").line_length([box.left, box.right], [middle, middle]))
    length = scale_bar(across)
    pixels, thick = length / across * width, height / 130
    x, y = width * 0.03, height * 0.95
    for part in range(2):
        colour = "black" if part == 0 else "white"
        axis.add_patch(
            Rectangle(
                (x + part * pixels / 2, y), pixels / 2, thick, facecolor=colour,
                edgecolor="black", linewidth=0.6,
            )
        )  # fmt: skip
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    axis.text(
        x + pixels / 2, y - thick * 0.6, text, ha="center", va="bottom", fontsize=8,
        bbox={"boxstyle": "round,pad=0.2", "color": "white", "alpha": 0.75, "linewidth": 0},
    )  # fmt: skip


def north(grid: GeoBox) -> float:
    """Where north is in the middle of a grid, in degrees clockwise from up."""
    row, col = (side / 2 for side in grid.shape)
    place = Places(grid.crs)
    lon, lat = place.points(np.array([grid.affine @ (col, row)]))[0]
    # A hundredth of a degree: far enough for the digits, near enough to be straight.
    up = place.position(lon, lat + (0.01 if lat < 89 else -0.01))
    x, y = ~grid.affine @ up
    angle = float(np.degrees(np.arctan2(x - col, row - y)))
    return angle if lat < 89 else angle + 180


def _draw_north(axis: Any, grid: GeoBox) -> None:
    if grid.crs is None:
        return
    angle = np.radians(north(grid))
    side = max(grid.shape) * 0.022
    x, y = grid.shape[1] - 2.6 * side, 2.9 * side
    along, across = (
        np.array([np.sin(angle), -np.cos(angle)]),
        np.array([np.cos(angle), np.sin(angle)]),
    )
    tip = np.array([x, y]) + 1.2 * side * along
    for sign, colour in ((-1, "black"), (1, "white")):
        corner = np.array([x, y]) - side * along + sign * 0.6 * side * across
        notch = np.array([x, y]) - 0.6 * side * along
        axis.add_patch(
            Polygon([tip, corner, notch], facecolor=colour, edgecolor="black", linewidth=0.6)
        )
    axis.text(
        *(tip + 0.8 * side * along), "N", ha="center", va="center", fontsize=8,
        bbox={"boxstyle": "round,pad=0.15", "color": "white", "alpha": 0.75, "linewidth": 0},
    )  # fmt: skip


def _write_legend(figure: Any, source: Source, left: float) -> None:
    patches = [
        Patch(
            facecolor=shares(step.colour), edgecolor="#888", linewidth=0.4,
            label=f"≥ {step.low:g}   {step.meaning}",
        )
        for step in RAMP
        if step.colour[3]
    ]  # fmt: skip
    patches.append(Patch(facecolor="none", edgecolor="#00b8d4", label="anomaly, strongest first"))
    found = figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(left, 0.95), fontsize=8,
        title="Surprise", title_fontsize=10, frameon=False, alignment="left",
    )  # fmt: skip
    found.get_title().set_fontweight("bold")
    odds = 10**source.threshold
    lines = [
        " → ".join(source.dates),
        f"Threshold: surprise {source.threshold:.2f}, one normal pixel in {odds:,.0f}.",
        f"{len(source.regions):,} anomal{'y' if len(source.regions) == 1 else 'ies'}.",
        source.basis and f"Calibration: {source.basis}.",
        *source.doubts,
    ]
    text = "\n".join(fill(line, COLUMNS) for line in lines if line)
    figure.text(left, 0.74, text, fontsize=7.5, va="top", linespacing=1.4, color="#333")
