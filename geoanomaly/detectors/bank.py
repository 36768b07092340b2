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
    FLAT,
    PixelSpace,
    fit_space,
    needs_context,
    restore_space,
    to_tensor,
)
from geoanomaly.detectors.robust import ROUNDS, Kept, normal_whitener, trim
from geoanomaly.detectors.rows import scores
from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Setting
from tiling.types import TileBatch

COMPONENTS = 10
MEMBERS = 500
MAX_PIXELS = 20_000
CHUNK = 1024
"""Pixels whose distances to all members are held at once: they fit in a processor's cache."""

NOTHING = -60.0
"""Binary logarithm of what counts for nothing; smaller ones would be slow denormal numbers."""

TENSORS = ("centre", "whiten", "members", "log_share")


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
        """(pixels, components), the leading ones of which are used -> (pixels,)."""
        used = pixels[:, : len(self.centre)]
        return torch.cat([self._distance(chunk) for chunk in torch.split(used, CHUNK)])

    def _distance(self, pixels: Tensor) -> Tensor:
        """By a sum of powers of two: a processor has them, and exp of what is far is slow."""
        pixels = (pixels - self.centre) @ self.whiten
        scale = 1 / (2 * math.log(2) * self.width**2)
        # -scale |pixel - member|^2 = scale (2 pixel . member - |member|^2) - scale |pixel|^2
        offset = self.log_share / math.log(2) - scale * self.members.square().sum(1)
        near = torch.addmm(offset, pixels, 2 * scale * self.members.T)
        nearest = near.amax(dim=1, keepdim=True)
        shares = near.sub_(nearest).clamp_min_(NOTHING).exp2_().sum(dim=1)
        soft = nearest[:, 0] + shares.log2()
        return (pixels.square().sum(1) - soft / scale).clamp_min(0).sqrt()

    def to(self, device: torch.device) -> Bank:
        return Bank(
            self.centre.to(device),
            self.whiten.to(device),
            self.members.to(device),
            self.log_share.to(device),
            self.width,
        )

    def state(self) -> State:
        tensors = {name: getattr(self, name).cpu().numpy() for name in TENSORS}
        return State({"width": self.width}, tensors)


def restore_bank(state: State) -> Bank:
    """The inverse of `Bank.state`."""
    tensors = {name: torch.from_numpy(np.array(state.tensors[name])) for name in TENSORS}
    return Bank(**tensors, width=state.config["width"])


@torch.inference_mode()
def fit_bank(pixels: Tensor) -> Bank:
    """Remember what is normal of (pixels, components), in random order."""
    pixels = pixels[:MAX_PIXELS, :COMPONENTS]
    kept = np.ones(len(pixels), dtype=bool)
    for _ in range(ROUNDS - 1):
        bank = _remember(pixels, kept)
        kept = trim(bank.distance(pixels).numpy(), kept)
    return _remember(pixels, kept)


def _remember(pixels: Tensor, kept: Kept) -> Bank:
    described = pixels.double().numpy()
    centre, whiten = normal_whitener(described, kept)
    normal = to_tensor((described[kept] - centre) @ whiten)
    chosen, owner, apart = _coreset(normal)
    share = torch.bincount(owner, minlength=len(chosen)) / len(normal)
    # As wide as members lie apart: twice the distance of a pixel from its own.
    width = 2 * max(math.sqrt(float(apart.mean()) / normal.shape[1]), FLAT)
    return Bank(to_tensor(centre), to_tensor(whiten), normal[chosen], share.log(), width)


def _coreset(normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Greedily the pixel farthest from all chosen so far (k-centre: Gonzalez 1985).

    Indexes of those chosen (m,); for each pixel the number of its member and its squared
    distance from it, (pixels,).
    """
    chosen = [0]
    apart = (normal - normal[0]).square().sum(1)
    owner = torch.zeros(len(normal), dtype=torch.long)
    while len(chosen) < MEMBERS and float(apart.max()) > FLAT**2:
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
        pixels, valid = self.space(batches[0], self.halo)
        distance = self.bank.distance(pixels)
        return np.asarray(scores(distance, valid, self.halo).cpu().numpy())

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
        return BankDetector(space, fit_bank(pixels))

    def restore(self, state: State) -> BankDetector:
        return BankDetector(restore_space(part(state, "space")), restore_bank(part(state, "bank")))


BANK = BankFamily()
