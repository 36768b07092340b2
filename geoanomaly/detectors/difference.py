"""The view of difference: linear combinations of the bands, one date less the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoanomaly.backbone import Matrix
from geoanomaly.detectors.base import State
from geoanomaly.detectors.dates import Dates
from geoanomaly.detectors.direction import to_tensor
from geoanomaly.normalise import Normaliser


@dataclass(frozen=True)
class DifferenceView:
    """before @ mix_before - after @ mix_after - offset, k differences a pixel.

    mix_before (before bands, k), mix_after (after bands, k), offset (k,).
    order: of the mean that makes one number of them, (mean |difference| ** order) ** (1 / order).
    """

    mix_before: Tensor
    mix_after: Tensor
    offset: Tensor
    order: int

    @property
    def reach(self) -> int:
        return 0

    def energy(self, before: Tensor, after: Tensor, valid: Tensor) -> Tensor:
        difference = (
            torch.einsum("nbyx,bk->nkyx", before, self.mix_before)
            - torch.einsum("nbyx,bk->nkyx", after, self.mix_after)
            - self.offset.view(1, -1, 1, 1)
        )
        return torch.as_tensor((difference.abs() ** self.order).mean(1) ** (2 / self.order))

    def to(self, device: torch.device) -> DifferenceView:
        return DifferenceView(
            self.mix_before.to(device),
            self.mix_after.to(device),
            self.offset.to(device),
            self.order,
        )

    def state(self) -> State:
        tensors = {
            name: getattr(self, name).cpu().numpy()
            for name in ("mix_before", "mix_after", "offset")
        }
        return State({"view": "difference", "order": self.order}, tensors)


def restore(state: State) -> DifferenceView:
    before, after, offset = (
        torch.from_numpy(np.array(state.tensors[name]))
        for name in ("mix_before", "mix_after", "offset")
    )
    return DifferenceView(before, after, offset, state.config["order"])


def band_difference(dates: Dates) -> DifferenceView:
    """Root mean square, band by band; of the mean of the bands where their counts differ."""
    return mixed_difference(*_band_by_band(dates), order=2)


def log_ratio_view(dates: Dates) -> DifferenceView:
    """Mean |log after - log before| of dates that were normalised as logarithms.

    The z-score is undone: what covers much of the scene must not be taken for a gain.
    """
    before, after = _band_by_band(dates)
    mix_before, mix_after = (
        normaliser.std.double().numpy()[:, None] * mix
        for normaliser, mix in ((dates.before, before), (dates.after, after))
    )
    offset = _mean(dates.after) @ after - _mean(dates.before) @ before
    return mixed_difference(mix_before, mix_after, offset, order=1)


def mixed_difference(
    mix_before: Matrix, mix_after: Matrix, offset: Matrix | None = None, *, order: int
) -> DifferenceView:
    """From NumPy's double precision."""
    offset = np.zeros(mix_before.shape[1]) if offset is None else offset
    return DifferenceView(to_tensor(mix_before), to_tensor(mix_after), to_tensor(offset), order)


def _band_by_band(dates: Dates) -> tuple[Matrix, Matrix]:
    before, after = len(dates.before.mean), len(dates.after.mean)
    if before == after:
        return np.eye(before), np.eye(after)
    return np.full((before, 1), 1 / before), np.full((after, 1), 1 / after)


def _mean(normaliser: Normaliser) -> Matrix:
    return np.asarray(normaliser.mean.double().numpy())
