"""Connected groups of mask pixels, found strip by strip: memory does not grow with the scene.

A group that reaches the last row of a strip stays open until the next one shows whether it
goes on (connected components of a stream: Rosenfeld and Pfaltz 1966, in two rows' memory).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

STRIP = 256
EIGHT = np.ones((3, 3), dtype=bool)
"""Pixels that meet at a corner are one group."""

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class Groups:
    """A table, one row a group.

    pixels; total, peak: sum and maximum of surprise; top, bottom, left, right: its rows and
    columns, the last included; row, col: of its highest pixel, of equal ones the first on the grid.
    """

    pixels: NDArray[np.int64]
    total: NDArray[np.float64]
    peak: NDArray[np.float64]
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, chosen: NDArray[Any]) -> Groups:
        return Groups(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})

    def strongest(self, count: int) -> Groups:
        """Those of the largest total."""
        return self[np.lexsort((self.left, self.top, -self.total))[:count]]


def find_groups(mask: Any, scores: Any, *, smallest: int, count: int) -> Groups:
    """The `count` strongest groups of at least `smallest` pixels, the strongest first.

    mask, scores: open rasters of one grid; mask pixels of 1 are grouped.
    """
    kept = opened = none = _none()
    above: Labels = np.zeros(mask.width, dtype=np.int32)  # in the row above, of open groups
    for window in _strips(mask.height, mask.width):
        labels, number = _labelled(mask, window)
        found = _measure(labels, scores, window) if number else none
        merged = _merge(len(opened), above, labels[0], number)
        groups = _combine(_joined(opened, found), merged)
        below = np.append(0, merged[len(opened) :] + 1)[labels[-1]]
        open_ones = np.unique(below[below > 0]) - 1
        done = np.setdiff1d(np.arange(len(groups)), open_ones)
        kept = _joined(kept, groups[done[groups.pixels[done] >= smallest]])
        if len(kept) > 4 * count:
            kept = kept.strongest(count)
        opened = groups[open_ones]
        above = np.searchsorted(open_ones, below - 1).astype(np.int32) + 1
        above[below == 0] = 0
    return _joined(kept, opened[opened.pixels >= smallest]).strongest(count)


def masks(mask: Any, groups: Groups) -> Iterator[tuple[Window, Labels]]:
    """Windows of the raster, in which the pixels of the groups have their number plus 1, else 0.

    Every group is whole in one of them.
    """
    first, last = groups.top // STRIP, groups.bottom // STRIP
    # Those in one strip or across one border together, the few taller ones each alone.
    alone = np.where(last - first > 1, np.arange(len(groups)), -1)
    for key in np.unique(np.stack([first, last, alone]), axis=1).T:
        inside = np.flatnonzero((np.stack([first, last, alone]) == key[:, None]).all(axis=0))
        rows = (groups.top[inside].min(), groups.bottom[inside].max() + 1)
        cols = (groups.left[inside].min(), groups.right[inside].max() + 1)
        yield _numbered(mask, groups, inside, rows, cols)


def _numbered(
    mask: Any, groups: Groups, chosen: NDArray[Any], rows: tuple[int, int], cols: tuple[int, int]
) -> tuple[Window, Labels]:
    window = Window.from_slices(rows, cols)
    labels, number = _labelled(mask, window)
    names = np.zeros(number + 1, dtype=np.int32)
    names[labels[groups.row[chosen] - rows[0], groups.col[chosen] - cols[0]]] = chosen + 1
    inside = in_groups(labels)
    labels.flat[inside] = names[labels.flat[inside]]
    return window, labels


def in_groups(labels: NDArray[np.signedinteger[Any]]) -> NDArray[np.intp]:
    """Flat places of the pixels that have a label; of bytes, and of one dimension, many times
    faster."""
    return np.flatnonzero(labels > 0)


def _labelled(mask: Any, window: Window) -> tuple[Labels, int]:
    hot = mask.read(1, window=window) == 1
    if not hot.any():  # as most of a sparse scene
        return np.zeros(hot.shape, np.int32), 0
    labels, number = label(hot, EIGHT)
    return labels.astype(np.int32, copy=False), number


def _strips(height: int, width: int) -> Iterator[Window]:
    return (Window(0, top, width, min(STRIP, height - top)) for top in range(0, height, STRIP))


def _measure(labels: NDArray[np.signedinteger[Any]], scores: Any, window: Window) -> Groups:
    inside = in_groups(labels)
    number = labels.flat[inside] - 1
    # A stable sort keeps the pixels of a group in the order of the grid; short numbers sort faster.
    short = number.astype(np.uint16) if number.max() < 2**16 else number
    order = np.argsort(short, kind="stable")
    start = np.flatnonzero(np.diff(number[order], prepend=-1))
    rows, cols = np.divmod(inside[order], labels.shape[1])
    value = scores.read(1, window=window)[rows, cols].astype(np.float64)
    pixels = np.diff(start, append=len(value))
    peak = np.maximum.reduceat(value, start)
    highest = np.flatnonzero(value == np.repeat(peak, pixels))
    top = highest[np.searchsorted(highest, start)]  # the first one of each group
    rows, cols = rows + window.row_off, cols + window.col_off
    return Groups(
        pixels=pixels,
        total=np.add.reduceat(value, start),
        peak=peak,
        top=rows[start],
        bottom=np.maximum.reduceat(rows, start),
        left=np.minimum.reduceat(cols, start),
        right=np.maximum.reduceat(cols, start),
        row=rows[top],
        col=cols[top],
    )


def _none() -> Groups:
    whole, real = np.zeros(0, np.int64), np.zeros(0)
    return Groups(whole, real, real, *(whole for _ in range(6)))


def _joined(one: Groups, other: Groups) -> Groups:
    return Groups(
        **{
            each.name: np.concatenate([getattr(one, each.name), getattr(other, each.name)])
            for each in fields(Groups)
        }
    )


def _merge(opened: int, above: Labels, first: Labels, found: int) -> NDArray[np.int32]:
    """The number of the merged group of each open group and of each one found, in this order.

    above: numbers of open groups plus 1, in the row before; first: labels of the next row.
    """
    pairs = [
        np.stack([above[max(step, 0) : len(above) + min(step, 0)] - 1,
                  first[max(-step, 0) : len(first) + min(-step, 0)] - 1 + opened])
        for step in (-1, 0, 1)
    ]  # fmt: skip
    touching = np.concatenate(pairs, axis=1)
    touching = touching[:, (touching[0] >= 0) & (touching[1] >= opened)]
    size = opened + found
    graph = coo_array((np.ones(touching.shape[1], bool), tuple(touching)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1])


def _combine(groups: Groups, number: NDArray[Any]) -> Groups:
    """Rows of equal number (all from 0 on occur) as one."""
    if not len(groups):
        return groups
    order = np.lexsort((groups.col, groups.row, -groups.peak, number))
    start = np.flatnonzero(np.diff(number[order], prepend=-1))
    merge = {
        "pixels": np.add, "total": np.add, "peak": np.maximum, "top": np.minimum,
        "bottom": np.maximum, "left": np.minimum, "right": np.maximum,
    }  # fmt: skip
    columns = {
        name: function.reduceat(getattr(groups, name)[order], start)
        for name, function in merge.items()
    }
    return Groups(**columns, row=groups.row[order][start], col=groups.col[order][start])
