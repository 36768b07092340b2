"""What happened between the dates that no season explains, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from geoanomaly.synthetic import events
from geoanomaly.synthetic.events import Event, Site
from geoanomaly.synthetic.layout import Layout
from geoanomaly.synthetic.noise import FloatMap

KINDS = ("clearing", "burn", "building", "spill", "flood")
"""The kinds of planted anomaly; kind number i + 1 in truth_classes.tif."""

NOT_JUDGED = 255


@dataclass(frozen=True)
class PlantedAnomaly:
    """One anomaly of the truth.

    bbox: (x0, y0, x1, y1) in pixels, half open; pixels: judged as anomalous;
    area_m2: in the plane of the scene's CRS.
    """

    kind: str
    bbox: tuple[int, int, int, int]
    pixels: int
    area_m2: float


@dataclass(frozen=True)
class Truth:
    """classes: (y, x) uint8, 0 normal, 1..5 number of the kind, 255 not judged;
    number: (y, x) 0 or 1 + index into `events`."""

    classes: NDArray[np.uint8]
    number: NDArray[np.uint8]
    events: tuple[Event, ...]


def plant(layout: Layout) -> tuple[Event, ...]:
    """All five kinds, at least one of each, apart from each other."""
    rng = np.random.default_rng([layout.seed, 2])
    more = 1 if min(layout.shape) >= 512 else 0
    fluid = (events.flood(layout, rng), events.spill(layout, rng))
    wet = np.maximum(*(event.share for event in fluid))
    dry = (1 - wet) * (1 - layout.water) * (1 - layout.lake) * (1 - layout.town.share)
    taken: list[Site] = []

    def sites(room: FloatMap, radius: float, count: int) -> list[Site]:
        return [_choose(rng, layout, room, radius, taken) for _ in range(count)]

    woods = _room(layout.forest * dry)
    # A fire needs something to burn, so a scar lies in trees for the most part.
    scars = [events.burn(layout, rng, site, dry) for site in sites(woods, 17.0, 1 + more)]
    cuts = [events.clearing(layout, rng, site) for site in sites(woods, 12.0, 1 + 2 * more)]
    fields = _room(dry * (1 - layout.forest) * (1 - layout.paved))
    beside = np.abs(layout.road.distance - 3.0 - 4.0 * layout.scale) < 1.5
    roadside = np.where(beside[::2, ::2], fields, 0).astype(np.float32)
    built = [events.building(layout, site) for site in sites(roadside, 5.0, 2 + 2 * more)]
    return (*cuts, *scars, *built, *fluid[::-1])


def judge(planted: tuple[Event, ...], blur: float, hidden: NDArray[np.bool_]) -> Truth:
    """What is anomalous, after the blur of the optics (pixels).

    Pixels that an anomaly covers by a tenth to a half are not judged: calling them
    either way would measure the label. The same holds for `hidden` ones (cloud).
    """
    shape = hidden.shape
    classes, number = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    best = np.zeros(shape, np.float32)
    for index, event in enumerate(planted):
        share = gaussian_filter(event.share, blur)
        here = share > best
        classes[here & (share >= 0.1)] = NOT_JUDGED
        classes[here & (share >= 0.5)] = KINDS.index(event.kind) + 1
        number[here & (share >= 0.5)] = index + 1
        best = np.maximum(best, share)
    classes[hidden] = NOT_JUDGED
    return Truth(classes, np.where(classes == NOT_JUDGED, 0, number).astype(np.uint8), planted)


def describe(truth: Truth, pixel_area: float) -> tuple[PlantedAnomaly, ...]:
    """The events that have judged pixels, in the order they were planted."""
    found = []
    for index, event in enumerate(truth.events):
        rows, columns = np.nonzero(truth.number == index + 1)
        if rows.size == 0:
            continue
        x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        bbox = (int(x0), int(y0), int(x1), int(y1))
        found.append(PlantedAnomaly(event.kind, bbox, rows.size, rows.size * pixel_area))
    return tuple(found)


def _room(share: FloatMap) -> FloatMap:
    """Pixels to the nearest place that is not (share > 0.7) of this cover, at half resolution."""
    half = np.pad(share[::2, ::2] > 0.7, 1)
    distance = distance_transform_edt(half)[1:-1, 1:-1] * 2
    return np.asarray(distance, dtype=np.float32)


def _choose(
    rng: np.random.Generator, layout: Layout, room: FloatMap, radius: float, taken: list[Site]
) -> Site:
    """A random place with room for `radius` (pixels at scale 1), away from edges and from `taken`.

    The new site is appended to `taken`. room: as `_room` gives it.
    """
    pixels = max(radius * layout.scale, 2.2)
    rows, columns = np.mgrid[: room.shape[0], : room.shape[1]] * 2
    height, width = layout.shape
    border = np.minimum(
        np.minimum(columns, width - 1 - columns), np.minimum(rows, height - 1 - rows)
    )
    score = 2.0 * np.clip(room / pixels, 0, 1.1) + np.clip(border / pixels, 0, 1.5)
    for site in taken:
        gap = np.hypot(columns - site.x, rows - site.y) - site.radius - pixels
        score = score + 2.0 * np.clip(gap / pixels, -1, 1) + 0.3 * np.clip(gap / (8 * pixels), 0, 1)
    score = score + 0.4 * rng.random(room.shape)
    row, column = np.unravel_index(int(np.argmax(score)), room.shape)
    site = Site(float(column * 2), float(row * 2), pixels)
    taken.append(site)
    return site
