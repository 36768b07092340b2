"""What lies around a pixel but not on it: statistics of a ring of square windows.

The inner window is a guard: an object there must not tell what is normal around it
(the dual window of local RX: Kwon and Nasrabadi 2005, IEEE TGRS 43(2)). Invalid pixels
count for nothing, so nodata reaches no further than the outer window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from torch import Tensor


@dataclass(frozen=True)
class Ring:
    """Half widths of both windows, in pixels."""

    inner: int
    outer: int


def ring_mean(data: Tensor, valid: Tensor, ring: Ring) -> Tensor:
    """Mean over the valid pixels of a ring, 0 where there are none.

    data (n, c, y, x), valid bool (n, y, x) -> (n, c, y, x).
    """
    weight = valid[:, None].to(data.dtype)
    data = data * weight
    seen = _box(weight, ring.outer) - _box(weight, ring.inner)
    return (_box(data, ring.outer) - _box(data, ring.inner)) / seen.clamp_min(1)


def _box(data: Tensor, radius: int) -> Tensor:
    """Sums over square windows, with zeros outside."""
    channels = data.shape[1]
    ones = torch.ones(1, 1, 1, 1, dtype=data.dtype, device=data.device)
    down = ones.expand(channels, 1, 2 * radius + 1, 1)
    across = ones.expand(channels, 1, 1, 2 * radius + 1)
    # Channels-last: oneDNN has a depthwise kernel for that layout.
    data = data.contiguous(memory_format=torch.channels_last)
    data = F.conv2d(data, down, padding=(radius, 0), groups=channels)
    return F.conv2d(data, across, padding=(0, radius), groups=channels)
