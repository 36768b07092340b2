"""What is known of a pixel of one scene, as a row of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geoanomaly import context
from geoanomaly.backbone import Matrix
from geoanomaly.detectors.base import State
from geoanomaly.detectors.rows import by_chunks, by_strips, rows
from geoanomaly.normalise import Normaliser, fit_normaliser
from geoanomaly.scenes.sampling import Sample, pick
from geoanomaly.types import Setting
from tiling.types import TileBatch

SPECTRAL_BANDS = 16
"""With more bands a pixel's spectrum says enough; with fewer its surroundings are needed too."""

MAX_PIXELS = 100_000
MAX_SPECTRA = 30_000
"""Pixels of which moments of all bands are taken: they are many where bands are many."""

FLAT = 1e-3
"""Deviations below it, in units of a band's own, are rounding and no feature of the ground."""


Turn = Callable[[Tensor], Tensor]


def needs_context(setting: Setting) -> bool:
    return len(setting.bands[0]) <= SPECTRAL_BANDS


@dataclass(frozen=True)
class Description:
    """Normalised bands, or the context features of each."""

    normalise: Normaliser
    contextual: bool

    @property
    def reach(self) -> int:
        """Pixels around a pixel that its row depends on."""
        return context.RADIUS if self.contextual else 0

    def __call__(
        self, batch: TileBatch, margin: int = 0, then: Turn = lambda described: described
    ) -> tuple[Tensor, Tensor]:
        """A row a pixel, (pixels, features), of those at least `margin` from the edges; and
        valid bool (n, y, x) of all.

        then: what is wanted of such rows, instead of them: no more than a few lines of the
        image are ever held, unless it is seen to its edges.
        """

        def seen(data: Tensor, valid: Tensor) -> Tensor:
            if self.contextual:
                return then(rows(context.features(data, valid, margin)))
            return then(rows(context.inner(data, margin)))

        valid = torch.from_numpy(batch.valid).to(self.normalise.mean.device)
        data = torch.from_numpy(batch.data).to(valid.device)
        data = self.normalise(data) * valid[:, None]
        if margin < self.reach:  # each strip would have edges of its own
            return seen(data, valid), valid
        return by_strips(seen, margin, data, valid), valid

    def to(self, device: torch.device) -> Description:
        return replace(self, normalise=self.normalise.to(device))

    def state(self) -> State:
        return State({"normalise": self.normalise.config(), "contextual": self.contextual}, {})


def restore_description(state: State) -> Description:
    """The inverse of `Description.state`."""
    return Description(
        Normaliser.from_config(state.config["normalise"]), state.config["contextual"]
    )


def fit_description(sample: Sample, setting: Setting, *, contextual: bool) -> Description:
    return Description(fit_normaliser(sample, 0, log=setting.log[0]), contextual)


@dataclass(frozen=True)
class PixelSpace:
    """The principal components of a description, each of unit variance.

    centre (features,), basis (features, components).
    """

    description: Description
    centre: Tensor
    basis: Tensor

    @property
    def reach(self) -> int:
        return self.description.reach

    def __call__(self, batch: TileBatch, margin: int = 0) -> tuple[Tensor, Tensor]:
        """A row a pixel, (pixels, components), of those at least `margin` from the edges; and
        valid bool (n, y, x) of all."""
        return self.description(batch, margin, lambda rows: by_chunks(self.turn, rows))

    def turn(self, described: Tensor) -> Tensor:
        return (described - self.centre) @ self.basis

    def to(self, device: torch.device) -> PixelSpace:
        return PixelSpace(
            self.description.to(device), self.centre.to(device), self.basis.to(device)
        )

    def state(self) -> State:
        tensors = {"centre": self.centre.cpu().numpy(), "basis": self.basis.cpu().numpy()}
        return State(self.description.state().config, tensors)


def restore_space(state: State) -> PixelSpace:
    """The inverse of `PixelSpace.state`."""
    return PixelSpace(
        restore_description(state),
        torch.from_numpy(np.array(state.tensors["centre"])),
        torch.from_numpy(np.array(state.tensors["basis"])),
    )


def fit_space(
    sample: Sample, setting: Setting, seed: int, *, components: int, contextual: bool
) -> tuple[PixelSpace, Tensor]:
    """The space of at most `components`, and sampled pixels in it, (pixels, components)."""
    description = fit_description(sample, setting, contextual=contextual)
    described = gather(sample, description, seed)
    centre, axes, variance = principal(described[:MAX_SPECTRA].double().numpy())
    # Directions in which the scene does not vary would be rounding noise, blown up.
    kept = max(1, int((variance[:components] > FLAT**2).sum()))
    basis = axes[:, :kept] / np.sqrt(np.maximum(variance[:kept], FLAT**2))
    space = PixelSpace(description, to_tensor(centre), to_tensor(basis))
    return space, space.turn(described)


def principal(described: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Centre (f,), axes (f, f) and variances (f,) of (pixels, f), the largest variance first."""
    centre = described.mean(axis=0)
    centred = described - centre
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variance, axes = variance[::-1], axes[:, ::-1]
    # Of the two signs of an axis always the same: the largest entry is positive.
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return centre, axes * np.sign(largest), variance


Describe = Callable[[TileBatch], tuple[Tensor, Tensor]]


@torch.inference_mode()
def gather(sample: Sample, describe: Describe, seed: int) -> Tensor:
    """Rows of at most `MAX_PIXELS` core pixels, in random order.

    The same pixels for the same seed, however they are described.
    """
    batch = sample.batches[0]
    picked = pick(sample, MAX_PIXELS, np.random.default_rng(seed))
    parts = [
        describe(batch.window(number))[0][torch.from_numpy(positions)]
        for number, positions in enumerate(picked.windows)
        if len(positions)
    ]
    return torch.cat(parts)[torch.from_numpy(picked.order)]


def to_tensor(matrix: Matrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
