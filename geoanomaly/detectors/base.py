"""What a detector is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geoanomaly.scenes.sampling import Sample
from geoanomaly.types import Report, Setting
from tiling.types import TileBatch

Config = Mapping[str, Any]
Tensors = Mapping[str, NDArray[Any]]
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class State:
    """A fitted detector as data: JSON-ready config, arrays by name."""

    config: Config
    tensors: Tensors


def network_tensors(network: nn.Module, prefix: str) -> Tensors:
    """A network's weights for a `State`, with names that begin with `prefix`."""
    # Contiguous: safetensors writes the bytes of a channels-last array in their own order.
    return {
        f"{prefix}{key}": np.ascontiguousarray(weight.cpu().numpy())
        for key, weight in network.state_dict().items()
    }


def load_network(network: Network, tensors: Tensors, prefix: str) -> Network:
    """The inverse of `network_tensors`; the network is ready to score."""
    weights = {
        key.removeprefix(prefix): torch.from_numpy(np.array(value))
        for key, value in tensors.items()
        if key.startswith(prefix)
    }
    network.load_state_dict(weights)
    return network.eval()


def joined(config: Config, parts: Mapping[str, State]) -> State:
    """A state that holds others under their names; `part` takes them out again."""
    tensors = {
        f"{name}.{key}": array
        for name, each in parts.items()
        for key, array in each.tensors.items()
    }
    return State({**config, **{name: each.config for name, each in parts.items()}}, tensors)


def part(state: State, name: str) -> State:
    """The state that `joined` was given under that name."""
    start = f"{name}."
    tensors = {
        key.removeprefix(start): array
        for key, array in state.tensors.items()
        if key.startswith(start)
    }
    return State(state.config[name], tensors)


class Detector(Protocol):
    """A fitted detector: immutable, picklable, free of statistics of the tile it scores."""

    @property
    def halo(self) -> int:
        """Pixels around a core that its scores depend on."""
        ...

    @property
    def calibrated(self) -> bool:
        """Are its scores surprise already?"""
        ...

    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        """One batch per scene of the job -> raw scores (n, y, x).

        Larger is stranger, NaN = no data. Nearer to the edge than `halo` they mean nothing.
        """
        ...

    def to(self, device: torch.device) -> Self:
        """The same detector on another device."""
        ...

    def state(self) -> State: ...


@dataclass(frozen=True)
class FitOptions:
    """start, end: percent of the job that fitting takes."""

    setting: Setting
    seed: int
    report: Report
    start: float = 8.0
    end: float = 40.0


class DetectorFamily(Protocol):
    """What makes detectors of one name."""

    def halo(self, setting: Setting) -> int:
        """The halo that samples must have, at least that of the fitted detector."""
        ...

    def fit(self, sample: Sample, options: FitOptions) -> Detector: ...

    def restore(self, state: State) -> Detector: ...
