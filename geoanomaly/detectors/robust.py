"""Learning what is normal from pixels of which some are not: the strangest lose their say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoanomaly.backbone import Matrix, energy
from geoanomaly.detectors.base import FitOptions
from geoanomaly.detectors.pixels import FLAT
from geoanomaly.types import Progress

TRIMMED = 0.02
"""Share of the strangest pixels that is left out after each round, so that anomalies in the
training scene are not learnt."""

STEPS = 1200
ROUNDS = 4
BATCH = 512
RATE = 2e-3
LOOK = 100

Kept = NDArray[np.bool_]


def trim(strangeness: NDArray[np.floating], kept: Kept) -> Kept:
    """Drop the `TRIMMED` share that is strangest of those kept; both (pixels,)."""
    return np.asarray(kept & (strangeness <= np.quantile(strangeness[kept], 1 - TRIMMED)))


def normal_whitener(described: Matrix, kept: Kept, *, rounds: int = 0) -> tuple[Matrix, Matrix]:
    """Centre (f,) and whitening matrix (f, f) of the kept pixels of (pixels, f), trimmed further.

    described: bands or features in units of their own deviation.
    """
    for _ in range(rounds):
        centre, whiten = normal_whitener(described, kept)
        kept = trim(energy((described - centre) @ whiten), kept)
    normal = described[kept]
    centre = normal.mean(axis=0)
    covariance = (normal - centre).T @ (normal - centre) / len(normal)
    covariance[np.diag_indices_from(covariance)] += FLAT**2
    return centre, np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)).T)


def train_trimmed(
    network: nn.Module,
    loss: Callable[[Tensor], Tensor],
    strangeness: Callable[[Kept], NDArray[np.floating]],
    kept: Kept,
    options: FitOptions,
    name: str,
) -> Kept:
    """Train in place, `ROUNDS` rounds of one schedule, and trim between them.

    loss: indexes (n,) -> losses (n,); strangeness: of all pixels, by those kept; kept
    (pixels,): who may be normal at all. Returns who still is in the end.
    No pixels are held out: ground that was never seen would look strange, and the
    narrow code, not an early stop, keeps the network from learning all by heart.
    """
    generator = torch.Generator().manual_seed(options.seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    network.train()
    for step in range(1, STEPS + 1):
        if step % (STEPS // ROUNDS) == 1:
            drawn_from = torch.from_numpy(kept.nonzero()[0])
        drawn = torch.randint(len(drawn_from), (BATCH,), generator=generator)
        now = loss(drawn_from[drawn]).mean()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(now)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        falling.step()
        if step % LOOK == 0:
            percent = options.start + (options.end - options.start) * step / STEPS
            message = f"{name}: step {step} of {STEPS}, loss {float(now.detach()):.4f}"
            options.report(Progress("fitting", percent, message))
        if step % (STEPS // ROUNDS) == 0:
            network.eval()
            with torch.inference_mode():
                kept = trim(strangeness(kept), kept)
            network.train()
    network.eval()
    return kept
