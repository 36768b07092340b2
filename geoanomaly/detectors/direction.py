"""Prediction of one date from the other: the part that both directions of a change share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.backbone import Matrix, Relation
from geoanomaly.detectors.base import State, load_network, network_tensors
from geoanomaly.detectors.rows import by_chunks, by_strips, framed, rows
from geoanomaly.networks import TranslationConfig, TranslationVae


@dataclass(frozen=True)
class Direction:
    """Prediction of one date from the other, on normalised pixels.

    slope (source, target), intercept (target,), whiten (target, target) of the linear
    relation; network: its correction, and finish (target, target) that whitens what is
    left; both None for the linear model alone.
    """

    slope: Tensor
    intercept: Tensor
    whiten: Tensor
    network: TranslationVae | None = None
    finish: Tensor | None = None

    @property
    def reach(self) -> int:
        return 0 if self.network is None else context.RADIUS

    def energy(self, source: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Mean squared whitened residual a band: dates (n, band, y, x) -> (n, y, x).

        0 at pixels nearer to the edge than `reach`, where it is not known.
        """

        def energy(source: Tensor, target: Tensor, valid: Tensor) -> Tensor:
            seen = [context.inner(date, self.reach) for date in (source, target)]
            if self.network is not None:
                seen.append(context.features(source, valid, self.reach))
            return by_chunks(self._energy, *map(rows, seen))

        return framed(by_strips(energy, self.reach, source, target, valid), valid, self.reach)

    def _energy(self, source: Tensor, target: Tensor, features: Tensor | None = None) -> Tensor:
        """Of rows, (pixels,)."""
        residual = (target - source @ self.slope - self.intercept) @ self.whiten
        if self.network is not None and self.finish is not None and features is not None:
            residual = (residual - self.network.correction(features)) @ self.finish
        return residual.square().mean(-1)

    def to(self, device: torch.device) -> Direction:
        network = None if self.network is None else self.network.to(device)
        finish = None if self.finish is None else self.finish.to(device)
        return Direction(
            self.slope.to(device),
            self.intercept.to(device),
            self.whiten.to(device),
            network,
            finish,
        )


def direction_state(direction: Direction, name: str) -> State:
    """A direction as data; all names begin with `name`."""
    tensors: dict[str, NDArray[Any]] = {}
    for part in ("slope", "intercept", "whiten", "finish"):
        value = getattr(direction, part)
        if value is not None:
            tensors[f"{name}.{part}"] = value.cpu().numpy()
    if direction.network is None:
        return State({}, tensors)
    tensors |= network_tensors(direction.network, f"{name}.network.")
    return State({name: asdict(direction.network.config)}, tensors)


def restore_direction(state: State, name: str) -> Direction:
    """The inverse of `direction_state`."""

    def part(key: str) -> Tensor | None:
        value = state.tensors.get(f"{name}.{key}")
        return None if value is None else torch.from_numpy(np.array(value))

    slope, intercept, whiten = part("slope"), part("intercept"), part("whiten")
    assert slope is not None
    assert intercept is not None
    assert whiten is not None
    network = None
    if name in state.config:
        network = TranslationVae(TranslationConfig(**state.config[name]))
        load_network(network, state.tensors, f"{name}.network.")
    return Direction(slope, intercept, whiten, network, part("finish"))


def linear_direction(relation: Relation) -> Direction:
    return Direction(
        to_tensor(relation.slope), to_tensor(relation.intercept), to_tensor(relation.whiten)
    )


def to_tensor(matrix: Matrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))
