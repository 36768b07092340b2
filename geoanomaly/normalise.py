"""Digital numbers to numbers that a network can work with, by fixed statistics of the whole scene.

Never by statistics of a tile: these would make seams.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly.scenes.sampling import Sample


@dataclass(frozen=True)
class Normaliser:
    """Per-band z-score, on the logarithm when `log`.

    mean, std: float32 (band,), of normal pixels in the domain that is worked in.
    floor: smallest value whose logarithm is taken.
    """

    mean: Tensor
    std: Tensor
    log: bool = False
    floor: float = 0.0

    def __call__(self, data: Tensor) -> Tensor:
        """(n, band, y, x) -> the same shape, about zero mean and unit deviation."""
        if self.log:
            data = torch.log(data.clamp_min(self.floor))
        shape = (1, -1, 1, 1)
        return (data - self.mean.view(shape)) / self.std.view(shape)

    def to(self, device: torch.device) -> Normaliser:
        return replace(self, mean=self.mean.to(device), std=self.std.to(device))

    def config(self) -> dict[str, Any]:
        """JSON-ready; `from_config` restores it bit by bit."""
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "log": self.log,
            "floor": self.floor,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Normaliser:
        mean, std = (torch.tensor(config[part], dtype=torch.float32) for part in ("mean", "std"))
        return cls(mean, std, config["log"], config["floor"])


def fit_normaliser(sample: Sample, scene: int, *, log: bool) -> Normaliser:
    """Statistics of the core pixels of one scene of a sample.

    Bands that hold one value only get deviation 1. Backscatter that is in decibel
    already (it has negative values) is not logarithmised again.
    """
    pixels = sample.batches[scene].data.transpose(1, 0, 2, 3)[:, sample.core].astype(np.float64)
    log = log and bool((pixels >= 0).all())
    floor = _floor(pixels) if log else 0.0
    if log:
        pixels = np.log(np.maximum(pixels, floor))
    std = pixels.std(axis=1)
    return Normaliser(
        torch.tensor(pixels.mean(axis=1), dtype=torch.float32),
        torch.tensor(np.where(std > 1e-12, std, 1.0), dtype=torch.float32),
        log,
        floor,
    )


def _floor(pixels: NDArray[np.float64]) -> float:
    """Half of the smallest backscatter that occurs often: zeros are the sensor's noise floor."""
    positive = pixels[pixels > 0]
    return float(np.quantile(positive, 0.001) / 2) if positive.size else 1.0
