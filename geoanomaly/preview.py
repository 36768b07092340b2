"""One picture that shows what was found: the scene beside itself under the heatmap."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from geoanomaly.areas import Clip
from geoanomaly.inputs import Inputs
from geoanomaly.legend import RAMP, coloured, shares
from geoanomaly.sensors import display_bands

MAX_SIDE = 1024
DOUBT_COLUMNS = 42
STRIP = 64
"""Rows of the picture that are read at a time."""

Picture = NDArray[np.float64]
"""(y, x, 3), 0 to 1."""


def draw_preview(
    path: Path, scene: Picture, heatmap: Path, threshold: float, basis: str, doubt: str = ""
) -> None:
    """A PNG of at most two squares of `MAX_SIDE` px and a legend, with any doubt below it.

    scene: of `scene_picture`; basis: what the shares of the legend rest on.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second to import
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    surprise = _shrunk(heatmap)
    height, width = surprise.shape
    wide = 5.0 * width / max(height, width)
    figure = Figure(figsize=(2 * wide + 2.4, 5.0 * height / max(height, width) + 0.5), dpi=140)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    for axis, title in zip(axes, ("scene", "surprise"), strict=True):
        axis.imshow(scene, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    axes[1].imshow(coloured(surprise), interpolation="nearest")
    steps = [step for step in RAMP if step.colour[3]]
    patches = [
        Patch(
            color=shares(step.colour),
            label=f"≥ {step.low:g}   {step.meaning}",
        )
        for step in steps
    ]
    figure.legend(
        handles=patches,
        loc="center right",
        fontsize=7,
        title=f"surprise (threshold {threshold:.2g})\n{fill(basis, DOUBT_COLUMNS)}",
        title_fontsize=7,
        frameon=False,
    )
    if doubt:
        text = fill(doubt, DOUBT_COLUMNS)
        figure.text(0.99, 0.03, text, ha="right", va="bottom", fontsize=6, color="#b00020")
    figure.subplots_adjust(
        left=0.01, right=1 - 2.2 / figure.get_figwidth(), bottom=0.01, top=0.92, wspace=0.02
    )
    figure.savefig(path, format="png", metadata={"Software": None})


def _shrunk(heatmap: Path) -> NDArray[np.float32]:
    """The heatmap at the size of a picture, from the overviews."""
    with rasterio.open(heatmap) as raster:
        # Average, as in the overviews: a single hot pixel must not stand for a whole field.
        shape = _fitting(raster.shape)
        return np.asarray(raster.read(1, out_shape=shape, resampling=Resampling.average))


def _fitting(shape: tuple[int, int]) -> tuple[int, int]:
    """(height, width) with the longer side at most `MAX_SIDE`."""
    factor = max(1.0, max(shape) / MAX_SIDE)
    height, width = (max(1, round(side / factor)) for side in shape)
    return height, width


def scene_picture(inputs: Inputs) -> Picture:
    """The after scene in its default colours, by 2-98 % stretch, white where there is no data."""
    info = inputs.scenes[-1]
    bands = next(iter(display_bands(info.band_names).values()))
    indexes = [info.source.bands[band - 1] for band in bands]
    height, width = _fitting((inputs.geobox.shape.y, inputs.geobox.shape.x))
    data = np.empty((len(indexes), height, width))
    with rasterio.open(info.scene.href) as raster:
        for top in range(0, height, STRIP):
            rows = slice(top, min(top + STRIP, height))
            data[:, rows] = _strip(raster, indexes, inputs.clip, rows, (height, width))
    picture = np.moveaxis(np.stack([_stretch(band) for band in data]), 0, -1)
    return np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture


def _strip(
    raster: Any, indexes: list[int], clip: Clip, rows: slice, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Rows of the picture, (band, y, x), NaN = no data.

    Values and validity of a few rows at a time: the second finds the first's blocks decoded.
    """
    top, height = clip.rows.start, clip.rows.stop - clip.rows.start
    window = Window.from_slices(
        (top + height * rows.start / shape[0], top + height * rows.stop / shape[0]),
        (clip.cols.start, clip.cols.stop),
    )
    size = (rows.stop - rows.start, shape[1])
    data = raster.read(
        indexes, window=window, out_shape=(len(indexes), *size), resampling=Resampling.nearest
    ).astype(np.float64)
    valid = raster.read_masks(
        indexes[0], window=window, out_shape=size, resampling=Resampling.nearest
    )
    data[:, (valid == 0) | ~np.isfinite(data).all(axis=0)] = np.nan
    return np.asarray(data)


def _stretch(band: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(band).any():
        return np.ones_like(band)
    low, high = np.nanpercentile(band, (2, 98))
    stretched = np.clip((band - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(np.nan_to_num(stretched, nan=1.0))
