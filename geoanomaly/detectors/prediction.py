"""The view of prediction: what either date does not foretell of the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoanomaly.detectors.base import State
from geoanomaly.detectors.direction import Direction, direction_state, restore_direction


@dataclass(frozen=True)
class PredictionView:
    """Mean energy of both directions."""

    forward: Direction
    backward: Direction

    @property
    def reach(self) -> int:
        return self.forward.reach

    def energy(self, before: Tensor, after: Tensor, valid: Tensor) -> Tensor:
        forward, backward = self.energies(before, after, valid)
        return (forward + backward) / 2

    def energies(self, before: Tensor, after: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Of predicting after from before, and before from after, (n, y, x) each."""
        forward = self.forward.energy(before, after, valid)
        backward = self.backward.energy(after, before, valid)
        return forward, backward

    def to(self, device: torch.device) -> PredictionView:
        return PredictionView(self.forward.to(device), self.backward.to(device))

    def state(self) -> State:
        forward = direction_state(self.forward, "forward")
        backward = direction_state(self.backward, "backward")
        return State(
            {"view": "prediction", **forward.config, **backward.config},
            {**forward.tensors, **backward.tensors},
        )


def restore(state: State) -> PredictionView:
    return PredictionView(restore_direction(state, "forward"), restore_direction(state, "backward"))
