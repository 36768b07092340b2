"""Panels of scenes, labels, heatmaps and verdicts, drawn side by side into small JPEGs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from geoanomaly.evaluation.label_files import published_threshold, read_heatmap, read_labels
from geoanomaly.results.legend import RAMP
from geoanomaly.scenes.inputs import Inputs, open_inputs
from geoanomaly.scenes.sensors import display_bands
from geoanomaly.types import JobSpec, Process, Scene

# Told apart with any colour vision, and in grey (Okabe and Ito).
FOUND, FALSE, MISSED, REST, UNLABELLED = "#0072b2", "#e69f00", "#000000", "#ececec", "#ffffff"
_MEANING = {FOUND: "found", FALSE: "false alarm", MISSED: "missed", REST: "rightly left"}

_MANY_BANDS = 20
_WIDTH, _ENTRY = 3.2, 1.0  # inches of a panel, of an entry of the legend
_DPI = 110

Picture = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """picture: (y, x, 3) in [0, 1]; legend: colour -> meaning, drawn once for all panels."""

    title: str
    picture: Picture
    legend: tuple[tuple[str, str], ...] = ()


def scene(title: str, path: Path, sensor: str | None = None) -> Panel:
    """In its default colours, each band stretched from 2 to 98 %."""
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene(str(path.absolute())),), sensor=sensor)
    return Panel(title, _colours(open_inputs(spec)))


def label(title: str, path: Path) -> Panel:
    """1 in black, 0 in grey, unlabelled in white."""
    values = read_labels(path, read_heatmap(path)).values
    return Panel(title, _paint(values.shape, {REST: values == 0, MISSED: values == 1}))


def heatmap(title: str, path: Path) -> Panel:
    """In the colours of the map's legend, on white."""
    values = read_heatmap(path).values
    colours = np.array([step.colour for step in RAMP]) / 255
    chosen = colours[np.digitize(values, [step.low for step in RAMP[1:]])]
    chosen[np.isnan(values), 3] = 0
    alpha = chosen[..., 3:]
    legend = tuple((_on_white(step.colour), f"≥ {step.low:g}") for step in RAMP if step.colour[3])
    return Panel(title, chosen[..., :3] * alpha + (1 - alpha), legend)


def verdict(title: str, path: Path, truth: Path, share: float | None = None) -> Panel:
    """What the mask found, missed and raised in vain, where there is a label.

    share: call so many of the pixels, the highest, instead of those in the mask.
    """
    scores = read_heatmap(path)
    labels = read_labels(truth, scores).values
    called = scores.values >= (
        published_threshold(path)[0] if share is None else np.nanquantile(scores.values, 1 - share)
    )
    scored = ~np.isnan(scores.values)
    masks = {
        REST: scored & ~called & (labels == 0),
        FOUND: called & (labels == 1),
        FALSE: called & (labels == 0),
        MISSED: scored & ~called & (labels == 1),
    }
    return Panel(title, _paint(labels.shape, masks), tuple(_MEANING.items()))


def overlay(title: str, path: Path, scores: Path) -> Panel:
    """The scene in grey with the mask upon it."""
    grey = scene(title, path).picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    called = read_heatmap(scores).values >= published_threshold(scores)[0]
    grey[called] = to_rgb(FALSE)
    return Panel(title, grey, ((FALSE, "called anomalous"),))


def draw(path: Path, panels: Sequence[Panel], columns: int | None = None) -> None:
    """Write a JPEG with `columns` panels a row (None = all in one) and one legend."""
    across = columns or len(panels)
    rows = -(-len(panels) // across)
    tall = max(panel.picture.shape[0] / panel.picture.shape[1] for panel in panels)
    entries = dict.fromkeys(entry for panel in panels for entry in panel.legend)
    in_line = min(len(entries), int(across * _WIDTH / _ENTRY)) or 1
    below = 0.2 + 0.2 * -(-len(entries) // in_line)
    size = (across * _WIDTH, rows * (_WIDTH * tall + 0.25) + below)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, across, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        axis.imshow(panel.picture, interpolation="antialiased")
        axis.set_title(panel.title, fontsize=8)
    for axis in axes:
        axis.set_axis_off()
    figure.legend(
        handles=[Patch(fc=colour, ec="#999999", label=text) for colour, text in entries],
        loc="outside lower center",
        ncols=in_line,
        fontsize=7,
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="jpeg", pil_kwargs={"quality": 82, "optimize": True})


def _paint(shape: tuple[int, ...], masks: dict[str, NDArray[np.bool_]]) -> Picture:
    picture = np.ones((*shape, 3))
    for colour, mask in masks.items():
        picture[mask] = to_rgb(colour)
    return picture


def _on_white(colour: tuple[int, int, int, int]) -> str:
    alpha = colour[3] / 255
    return "#" + "".join(f"{round(part * alpha + 255 * (1 - alpha)):02x}" for part in colour[:3])


def _colours(inputs: Inputs) -> Picture:
    """(y, x, 3) of a scene; three bands spread over the spectrum where there are very many."""
    array = inputs.arrays[0]
    if len(array) > _MANY_BANDS:
        bands = [int(len(array) * share) for share in (0.7, 0.4, 0.1)]
    else:
        shown = next(iter(display_bands(inputs.scenes[0].band_names).values()))
        bands = [band - 1 for band in shown]
    data = array[bands].to_numpy().astype(np.float64)
    picture = np.stack([_stretch(band) for band in data], axis=-1)
    return picture.repeat(3, axis=-1) if picture.shape[-1] == 1 else picture


def _stretch(band: NDArray[Any]) -> NDArray[Any]:
    low, high = np.nanpercentile(band, (2, 98))
    stretched = np.clip((band - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(np.nan_to_num(stretched, nan=1.0))
