"""One picture that shows what was found: the scene beside itself under the heatmap."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geoanomaly.results.legend import RAMP, RGBA, coloured
from geoanomaly.scenes.thumbnail import MAX_SIDE

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

    heat = coloured(_shrunk(heatmap, scene.shape[:2]))
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


def _shrunk(heatmap: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The heatmap at the (height, width) of a picture, from the overviews."""
    with rasterio.open(heatmap) as raster:
        # Average, as in the overviews: a single hot pixel must not stand for a whole field.
        return np.asarray(raster.read(1, out_shape=shape, resampling=Resampling.average))


def scene_picture(seen: NDArray[np.float32]) -> Picture:
    """A scene's thumbnail, (band, y, x), by 2-98 % stretch, white where there is no data."""
    picture = np.moveaxis(np.stack([_stretch(band) for band in seen]), 0, -1)
    return np.broadcast_to((picture * 255).astype(np.uint8), (*seen.shape[1:], 3)).copy()


def _stretch(band: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(band).any():
        return np.ones_like(band)
    low, high = np.nanpercentile(band, (2, 98))
    stretched = np.clip((band - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(np.nan_to_num(stretched, nan=1.0))
