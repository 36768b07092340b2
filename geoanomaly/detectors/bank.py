"""Distance to a memory of normal pixels: PatchCore's idea (Roth et al. 2022, arXiv:2106.08265).

The memory is a greedy coreset: spread over all that is normal, however rare. In one scene
some of what is learnt from is not normal, and a greedy choice takes just that first. So
each member counts by how many pixels it stands for, in a soft nearest-neighbour
distance (in place of PatchCore's reweighting), and the strangest are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.detectors.base import FitOptions, State, joined, part
from geoanomaly.detectors.pixels import (
    TINY,
    PixelSpace,
    fit_space,
    needs_context,
    restore_space,
    to_tensor,
)
from geoanomaly.detectors.robust import ROUNDS, Kept, normal_whitener, trim
from geoanomaly.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

COMPONENTS = 10
MEMBERS = 500
MAX_PIXELS = 20_000
CHUNK = 8192
"""Pixels whose distances to all members are held at once."""


@dataclass(frozen=True)
class Bank:
    """centre (f,), whiten (f, f): of normal pixels; members (m, f): whitened;
    log_share (m,): of the pixels that each stands for; width: of the soft distance."""

    centre: Tensor
    whiten: Tensor
    members: Tensor
    log_share: Tensor
    width: float

    def distance(self, pixels: Tensor) -> Tensor:
        """(pixels, f) -> (pixels,)."""
        return torch.cat([self._distance(chunk) for chunk in torch.split(pixels, CHUNK)])

    def _distance(self, pixels: Tensor) -> Tensor:
        pixels = (pixels - self.centre) @ self.whiten
        squares = pixels.square().sum(1, keepdim=True) + self.members.square().sum(1)
        apart = (squares - 2 * pixels @ self.members.T).clamp_min(0)
        near = torch.logsumexp(self.log_share - apart / (2 * self.width**2), dim=1)
        return self.width * (-2 * near).clamp_min(0).sqrt()

    def to(self, device: torch.device) -> Bank:
        tensors = (self.centre, self.whiten, self.members, self.log_share)
        centre, whiten, members, log_share = (tensor.to(device) for tensor in tensors)
        return Bank(centre, whiten, members, log_share, self.width)

    def state(self) -> State:
        names = ("centre", "whiten", "members", "log_share")
        tensors = {name: getattr(self, name).cpu().numpy() for name in names}
        return State({"width": self.width}, tensors)


def restore_bank(state: State) -> Bank:
    """The inverse of `Bank.state`."""
    names = ("centre", "whiten", "members", "log_share")
    centre, whiten, members, log_share = (
        torch.from_numpy(np.array(state.tensors[name])) for name in names
    )
    return Bank(centre, whiten, members, log_share, state.config["width"])


@torch.inference_mode()
def fit_bank(pixels: Tensor, kept: Kept) -> Bank:
    """Remember what is normal of (pixels, f), in random order, of which `kept` (pixels,) may be."""
    pixels, kept = pixels[:MAX_PIXELS], kept[:MAX_PIXELS]
    for _ in range(ROUNDS - 1):
        bank = _remember(pixels, kept)
        kept = trim(bank.distance(pixels).numpy(), kept)
    return _remember(pixels, kept)


def _remember(pixels: Tensor, kept: Kept) -> Bank:
    described = pixels.double().numpy()
    centre, whiten, _ = normal_whitener(described, kept, rounds=0)
    normal = to_tensor((described[kept] - centre) @ whiten)
    chosen, owner, apart = _coreset(normal)
    share = torch.bincount(owner, minlength=len(chosen)) / len(normal)
    # As wide as members lie apart: twice the distance of a pixel from its own.
    width = 2 * math.sqrt(max(float(apart.mean()) / normal.shape[1], TINY))
    return Bank(to_tensor(centre), to_tensor(whiten), normal[chosen], share.log(), width)


def _coreset(normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Greedily the pixel farthest from all chosen so far (k-centre: Gonzalez 1985).

    Indexes of those chosen (m,); for each pixel the number of its member and its squared
    distance from it, (pixels,).
    """
    chosen = [0]
    apart = (normal - normal[0]).square().sum(1)
    owner = torch.zeros(len(normal), dtype=torch.long)
    while len(chosen) < MEMBERS and float(apart.max()) > TINY:
        farthest = int(apart.argmax())
        distance = (normal - normal[farthest]).square().sum(1)
        nearer = distance < apart
        apart = torch.where(nearer, distance, apart)
        owner[nearer] = len(chosen)
        chosen.append(farthest)
    return torch.tensor(chosen), owner, apart


@dataclass(frozen=True)
class BankDetector:
    """Distance to the memory."""

    space: PixelSpace
    bank: Bank

    calibrated: ClassVar[bool] = False

    @property
    def halo(self) -> int:
        return self.space.reach

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        pixels, valid = self.space(batches[0])
        distance = self.bank.distance(pixels).view(valid.shape)
        return np.asarray(distance.masked_fill(~valid, torch.nan).cpu().numpy())

    def to(self, device: torch.device) -> BankDetector:
        return BankDetector(self.space.to(device), self.bank.to(device))

    def state(self) -> State:
        return joined({}, {"space": self.space.state(), "bank": self.bank.state()})


class BankFamily:
    def halo(self, setting: Setting) -> int:
        return context.RADIUS if needs_context(setting) else 0

    def fit(self, sample: Sample, options: FitOptions) -> BankDetector:
        space, pixels = fit_space(
            sample,
            options.setting,
            options.seed,
            components=COMPONENTS,
            contextual=needs_context(options.setting),
        )
        return BankDetector(space, fit_bank(pixels, np.ones(len(pixels), dtype=bool)))

    def restore(self, state: State) -> BankDetector:
        return BankDetector(restore_space(part(state, "space")), restore_bank(part(state, "bank")))


BANK = BankFamily()
