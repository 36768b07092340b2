"""Both dates of a pair, normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoanomaly.normalise import Normaliser, fit_normaliser
from geoanomaly.scenes.sampling import Sample
from tiling.types import TileBatch


@dataclass(frozen=True)
class Dates:
    """The normalisers of both dates."""

    before: Normaliser
    after: Normaliser

    def __call__(self, batches: tuple[TileBatch, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised before and after (n, band, y, x), and valid bool (n, y, x) in both.

        0 where not valid.
        """
        device = self.before.mean.device
        valid = torch.from_numpy(batches[0].valid & batches[1].valid).to(device)
        before, after = (
            normalise(torch.from_numpy(batch.data).to(device)) * valid[:, None]
            for normalise, batch in zip((self.before, self.after), batches, strict=True)
        )
        return before, after, valid

    def to(self, device: torch.device) -> Dates:
        return Dates(self.before.to(device), self.after.to(device))

    def config(self) -> dict[str, Any]:
        """JSON-ready; `from_config` restores it bit by bit."""
        return {"before": self.before.config(), "after": self.after.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Dates:
        return cls(
            Normaliser.from_config(config["before"]), Normaliser.from_config(config["after"])
        )


def fit_dates(sample: Sample, log: tuple[bool, ...]) -> Dates:
    """log: per date, work in the log domain?"""
    before, after = (fit_normaliser(sample, date, log=log[date]) for date in (0, 1))
    return Dates(before, after)
