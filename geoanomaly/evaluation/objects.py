"""Objects found and objects called in vain: what pixels alone do not tell.

An object is a group of pixels that touch at sides or corners, as the published
polygons are. Two rules are reported, because they answer two questions.

- any overlap: does a polygon lead the eye to it? The rule for alerts and targets. It
  forgives any outline, so a mask that covers everything finds everything.
- IoU >= 0.5: is the outline right too? The rule of PASCAL VOC, COCO and of building
  footprints (SpaceNet). It is strict with small objects and with merged ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIN_OBJECT = 4
"""Pixels; the smallest group that a run publishes as a polygon (`anomalies.MIN_PIXELS`)."""

_TOUCHING = np.ones((3, 3), dtype=bool)
_HALF = 0.5

Mask = NDArray[np.bool_]
Counts = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class Match:
    """found: objects of the label that the mask meets; right: objects of the mask that meet one.

    recall, precision: their shares; None where there is no object to share among.
    """

    found: int
    right: int
    recall: float | None
    precision: float | None


@dataclass(frozen=True)
class Objects:
    """Objects of at least min_object pixels: labelled ones, those called, and how they meet."""

    min_object: int
    labelled: int
    called: int
    any_overlap: Match
    iou_half: Match


def match_objects(anomalous: Mask, called: Mask, judged: Mask, min_object: int) -> Objects:
    """Compare the groups of `anomalous` (label) with those of `called` (mask), all (y, x).

    judged: pixels with a label and a score. Only they count for sizes and overlaps, so a
    group that lies mostly where nothing is known is not held against the mask; groups of
    fewer than min_object judged pixels are left out. A called group is right also when
    all that it meets is a labelled group too small to be counted.
    """
    truth, truth_sizes = _groups(anomalous, judged)
    mask, mask_sizes = _groups(called, judged)
    both = anomalous & called & judged
    pairs, shared = np.unique(
        np.stack([truth[both], mask[both]]).reshape(2, -1), axis=1, return_counts=True
    )
    truth_counts, mask_counts = truth_sizes >= min_object, mask_sizes >= min_object
    union = truth_sizes[pairs[0]] + mask_sizes[pairs[1]] - shared

    def match(chosen: Mask) -> Match:
        seen = np.zeros_like(truth_counts)
        seen[pairs[0, chosen & mask_counts[pairs[1]]]] = True
        hit = np.zeros_like(mask_counts)
        hit[pairs[1, chosen]] = True
        return _match(seen & truth_counts, truth_counts, hit & mask_counts, mask_counts)

    return Objects(
        min_object,
        int(truth_counts.sum()),
        int(mask_counts.sum()),
        match(np.ones(shared.size, dtype=bool)),
        match(shared >= _HALF * union),
    )


def _groups(mask: Mask, judged: Mask) -> tuple[Counts, Counts]:
    """Number of each pixel's group, (y, x), and judged pixels of each group; number 0 is none."""
    numbers, count = ndimage.label(mask, structure=_TOUCHING)
    return numbers, np.bincount(numbers[mask & judged], minlength=count + 1)


def _match(seen: Mask, labelled: Mask, hit: Mask, called: Mask) -> Match:
    found, right = int(seen.sum()), int(hit.sum())
    return Match(found, right, _share(found, labelled), _share(right, called))


def _share(part: int, whole: Mask) -> float | None:
    return part / int(whole.sum()) if whole.any() else None
