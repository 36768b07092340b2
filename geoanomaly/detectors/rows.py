"""Pixels as rows, which is how the networks see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from torch import Tensor

CHUNK = 4096
"""Rows that go through a network at once: what its layers hand on then stays in the cache."""

STRIP = 64
"""Lines of an image that are described at once: sixty features of every pixel of a tile, and
what the filters leave behind, would take half of a job's memory."""


def rows(image: Tensor) -> Tensor:
    """(n, c, y, x) -> (n y x, c), one row a pixel."""
    return image.permute(0, 2, 3, 1).flatten(0, 2)


def image(pixels: Tensor, valid: Tensor) -> Tensor:
    """(n y x, c) -> (n, c, y, x): the inverse of `rows`."""
    return pixels.view(*valid.shape, -1).permute(0, 3, 1, 2)


def by_chunks(function: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """`function` of tensors with one row a pixel each, a few rows at a time."""
    split = (torch.split(part, CHUNK) for part in parts)
    found = (function(*chunk) for chunk in zip(*split, strict=True))
    return _joined(found, len(parts[0]), dim=0)


def by_strips(function: Callable[..., Tensor], margin: int, *images: Tensor) -> Tensor:
    """`function` of images, (n, ..., y, x), a few lines at a time: a row for each inner pixel.

    It is given `margin` more lines above and below, and makes rows of the pixels at least
    `margin` from the edges of what it is given.
    """
    number, *_, height, width = images[0].shape
    height, width = height - 2 * margin, width - 2 * margin
    tops = range(0, height, STRIP)
    strips = (slice(top, min(top + STRIP, height) + 2 * margin) for top in tops)
    parts = (function(*(image[..., strip, :] for image in images)) for strip in strips)
    placed = (part.view(number, -1, width, *part.shape[1:]) for part in parts)
    return _joined(placed, height, dim=1).flatten(0, 2)


def _joined(parts: Iterator[Tensor], length: int, dim: int) -> Tensor:
    """As `torch.cat` of parts that are `length` together, but each is let go once it is copied."""
    first = next(parts)
    shape = (*first.shape[:dim], length, *first.shape[dim + 1 :])
    whole, start = first.new_empty(shape), 0
    for part in chain([first], parts):
        end = start + part.shape[dim]
        whole.narrow(dim, start, end - start).copy_(part)
        start = end
    return whole


def inner_rows(pixels: Tensor, valid: Tensor, halo: int) -> Tensor:
    """Of rows (n y x, c), those at least `halo` pixels from the edges of valid (n, y, x)."""
    height, width = valid.shape[1:]
    whole = pixels.view(*valid.shape, -1)
    return whole[:, halo : height - halo, halo : width - halo].flatten(0, 2)


def framed(values: Tensor, valid: Tensor, halo: int) -> Tensor:
    """Values of the `inner_rows` -> (n, y, x), 0 in the halo."""
    number, height, width = valid.shape
    inner = values.view(number, height - 2 * halo, width - 2 * halo)
    return F.pad(inner, (halo, halo, halo, halo))


def scores(values: Tensor, valid: Tensor, halo: int) -> Tensor:
    """Values of the `inner_rows` -> (n, y, x), NaN where not valid; numbers of no meaning in
    the halo."""
    return framed(values, valid, halo).masked_fill(~valid, torch.nan)
