"""Energy of a linear map of what is known of a pixel: what RX and the linear autoencoder share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly.detectors.base import State, joined, part
from geoanomaly.detectors.pixels import Description, restore_description
from geoanomaly.detectors.rows import scores
from tiling.types import TileBatch


@dataclass(frozen=True)
class LinearDetector:
    """Root mean square of (features - centre) @ matrix.

    centre (features,), matrix (features, outputs).
    """

    description: Description
    centre: Tensor
    matrix: Tensor

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.description.reach

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        root, valid = self.description(batches[0], self.halo, self._distance)
        return np.asarray(scores(root, valid, self.halo).cpu().numpy())

    def _distance(self, described: Tensor) -> Tensor:
        """(pixels, features) -> (pixels,)."""
        mapped = (described - self.centre) @ self.matrix
        return (mapped**2).mean(-1).sqrt()

    def to(self, device: torch.device) -> LinearDetector:
        return LinearDetector(
            self.description.to(device), self.centre.to(device), self.matrix.to(device)
        )

    def state(self) -> State:
        tensors = {"centre": self.centre.cpu().numpy(), "matrix": self.matrix.cpu().numpy()}
        return joined({}, {"description": self.description.state(), "map": State({}, tensors)})


def restore_linear(state: State) -> LinearDetector:
    """The inverse of `LinearDetector.state`."""
    tensors = part(state, "map").tensors
    return LinearDetector(
        restore_description(part(state, "description")),
        torch.from_numpy(np.array(tensors["centre"])),
        torch.from_numpy(np.array(tensors["matrix"])),
    )
