"""Pixels as rows, which is how the networks see them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from torch import Tensor

CHUNK = 4096
"""Rows that go through a network at once: what its layers hand on then stays in the cache."""


def rows(image: Tensor) -> Tensor:
    """(n, c, y, x) -> (n y x, c), one row a pixel."""
    return image.permute(0, 2, 3, 1).flatten(0, 2)


def image(pixels: Tensor, valid: Tensor) -> Tensor:
    """(n y x, c) -> (n, c, y, x): the inverse of `rows`."""
    return pixels.view(*valid.shape, -1).permute(0, 3, 1, 2)


def by_chunks(function: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """`function` of tensors with one row a pixel each, a few rows at a time."""
    split = (torch.split(part, CHUNK) for part in parts)
    return torch.cat([function(*chunk) for chunk in zip(*split, strict=True)])


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
