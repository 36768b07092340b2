"""Training a small network on sampled pixels: seeded, watched on held-out blocks, stopped early."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geoanomaly.types import Progress, Report

HELD_OUT_BLOCK = 32
HELD_OUT_SHARE = 0.15


@dataclass(frozen=True)
class Schedule:
    """steps of `batch` pixels at a cosine-falling rate; a look at the held-out loss every `look`.

    patience: looks without a better loss before training stops.
    """

    steps: int
    batch: int
    rate: float = 2e-3
    look: int = 50
    patience: int = 4


@dataclass(frozen=True)
class Watch:
    """Where a training's progress goes: `report` between `start` and `end` percent of the job."""

    report: Report
    start: float
    end: float
    name: str

    def tell(self, done: int, steps: int, loss: float) -> None:
        percent = self.start + (self.end - self.start) * done / steps
        message = f"{self.name}: step {done} of {steps}, held-out loss {loss:.4f}"
        self.report(Progress("fitting", percent, message))


Loss = Callable[[Tensor], Tensor]
"""Indexes of pixels (n,) -> their losses (n,)."""


def train(
    network: nn.Module,
    loss: Loss,
    weight: Tensor,
    held_out: Tensor,
    schedule: Schedule,
    watch: Watch,
    generator: torch.Generator,
) -> float:
    """Train in place and leave the state with the best held-out loss, that of the start included.

    weight: (pixels,) how often a pixel is drawn; held_out: bool (pixels,), never drawn.
    Returns the best held-out loss.
    """
    drawn_from = weight * ~held_out
    optimiser = torch.optim.Adam(network.parameters(), lr=schedule.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, schedule.steps)
    best, state, waited = _held_out_loss(network, loss, weight, held_out), _state(network), 0
    for step in range(1, schedule.steps + 1):
        indexes = torch.multinomial(
            drawn_from, schedule.batch, replacement=True, generator=generator
        )
        optimiser.zero_grad(set_to_none=True)
        loss(indexes).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        falling.step()
        if step % schedule.look and step != schedule.steps:
            continue
        now = _held_out_loss(network, loss, weight, held_out)
        watch.tell(step, schedule.steps, now)
        best, state, waited = (now, _state(network), 0) if now < best else (best, state, waited + 1)
        if waited > schedule.patience:
            break
    network.load_state_dict(state)
    return best


def _held_out_loss(network: nn.Module, loss: Loss, weight: Tensor, held_out: Tensor) -> float:
    indexes = held_out.nonzero().squeeze(1)[:20_000]
    network.eval()
    with torch.no_grad():
        # The same noise at every look, so that losses can be compared.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses = loss(indexes)
        share = weight[indexes]
        value = float((losses * share).sum() / share.sum().clamp_min(1e-12))
    network.train()
    return value


def _state(network: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(network.state_dict())


def held_out_blocks(core: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.bool_]:
    """Which core pixels lie in held-out blocks: bool (core pixels,), in the order of `core`.

    Whole blocks of 32 x 32 px, because neighbours resemble each other. At least one
    block is held out and one is not.
    """
    window, row, col = core.nonzero()
    block = np.stack([window, row // HELD_OUT_BLOCK, col // HELD_OUT_BLOCK])
    _, number = np.unique(block, axis=1, return_inverse=True)
    count = int(number.max()) + 1
    if count < 2:
        return np.asarray(generator.random(len(number)) < HELD_OUT_SHARE)
    chosen = generator.permutation(count)[: max(1, round(HELD_OUT_SHARE * count))]
    return np.isin(number.reshape(-1), chosen)
