"""One picture that shows what was found: the scene beside itself under the heatmap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from geoanomaly.results.legend import RAMP, RGBA, coloured
from geoanomaly.scenes.areas import Clip
from geoanomaly.scenes.inputs import Inputs
from geoanomaly.scenes.sensors import display_bands

MAX_SIDE = 768
FEW_ROWS = 256
"""Of a scene whose blocks are lines: not each by itself."""

GAP, TITLE, LEGEND, LINE = 12, 26, 300, 20
"""Pixels: between the parts, above the pictures, beside them, from line to line."""

COLUMNS = 42
"""Characters in a line of the legend."""

PAPER, INK, DOUBT = (255, 255, 255), (30, 30, 30), (176, 0, 32)

Picture = NDArray[np.uint8]
"""RGB, (y, x, 3)."""


def draw_preview(
    path: Path, scene: Picture, heatmap: Path, threshold: float, basis: str, doubt: str = ""
) -> None:
    """A PNG of two squares of at most `MAX_SIDE` px and a legend, with any doubt below it.

    scene: of `scene_picture`; basis: what the shares of the legend rest on.
    """
    from PIL import Image, ImageDraw, ImageFont

    heat = coloured(_shrunk(heatmap))
    found = Image.fromarray(scene).convert("RGBA")
    found.alpha_composite(Image.fromarray(heat))
    sides = [_enlarged(Image.fromarray(scene)), _enlarged(found.convert("RGB"))]
    width, height = sides[0].size
    steps = [step for step in RAMP if step.colour[3]]
    notes = [f"surprise (threshold {threshold:.2g})", *wrap(basis, COLUMNS)]
    doubts = wrap(doubt, COLUMNS)
    lines = len(notes) + len(steps) + len(doubts) + 2
    whole = Image.new(
        "RGB", (2 * (width + GAP) + GAP + LEGEND, TITLE + max(height, lines * LINE) + GAP), PAPER
    )
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for number, (title, side) in enumerate(zip(("scene", "surprise"), sides, strict=True)):
        left = GAP + number * (width + GAP)
        pen.text((left, 6), title, INK, font)
        whole.paste(side, (left, TITLE))
    left, top = 2 * (width + GAP) + GAP, TITLE
    for note in notes:
        pen.text((left, top), note, INK, font)
        top += LINE
    top += LINE // 2
    for step in steps:
        pen.rectangle((left, top, left + 26, top + 13), _on_paper(step.colour))
        pen.text((left + 36, top - 1), f"{step.low:g} and up   {step.meaning}", INK, font)
        top += LINE
    top += LINE // 2
    for line in doubts:
        pen.text((left, top), line, DOUBT, font)
        top += LINE
    whole.save(path, format="png", compress_level=4)


def _enlarged(picture: Any) -> Any:
    """A small scene so large that one can see its pixels."""
    factor = max(1, MAX_SIDE // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), resample=0)


def _on_paper(colour: RGBA) -> tuple[int, ...]:
    *parts, alpha = colour
    return tuple(
        round(part * alpha / 255 + white * (1 - alpha / 255))
        for part, white in zip(parts, PAPER, strict=True)
    )


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
        for rows in _strips(raster, inputs.clip, height):
            data[:, rows] = _strip(raster, indexes, inputs.clip, rows, (height, width))
    picture = np.moveaxis(np.stack([_stretch(band) for band in data]), 0, -1)
    return np.broadcast_to((picture * 255).astype(np.uint8), (height, width, 3)).copy()


def _strips(raster: Any, clip: Clip, height: int) -> Iterator[slice]:
    """Rows of a picture that come from one row of blocks, which then are decoded once."""
    step = (clip.rows.stop - clip.rows.start) / height
    sampled = clip.rows.start + (np.arange(height) + 0.5) * step
    blocks = sampled // max(raster.block_shapes[0][0], FEW_ROWS)
    edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1), height]
    return (slice(int(top), int(bottom)) for top, bottom in pairwise(edges))


def _strip(
    raster: Any, indexes: list[int], clip: Clip, rows: slice, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Rows of the picture, (band, y, x), NaN = no data.

    Of a few rows at a time, so that validity finds the blocks decoded.
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
