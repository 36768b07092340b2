"""Change that normal change does not explain: a linear relation, corrected by a conditional VAE."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoanomaly import context
from geoanomaly.backbone import (
    MAX_PIXELS,
    Backbone,
    Matrix,
    Relation,
    energy,
    fit_backbone,
    shared_weight,
    whitener,
)
from geoanomaly.detectors.base import FitOptions, State, load_network, network_tensors
from geoanomaly.networks import TranslationConfig, TranslationVae, set_scaling
from geoanomaly.normalise import Normaliser, fit_normaliser
from geoanomaly.sampling import Sample
from geoanomaly.training import Schedule, Watch, held_out_blocks, train
from tiling.types import TileBatch

SMOOTHING = 1.5
"""Gaussian sigma in pixels on the root of the energy: neighbours change together."""

ROUNDS = (Schedule(steps=300, batch=4096), Schedule(steps=150, batch=4096, rate=1e-3))
MAX_FEATURE_VALUES = 32_000_000


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

    def energy(self, source: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Mean squared whitened residual a band: dates (n, band, y, x) -> (n y x,)."""
        predicted = _rows(source) @ self.slope + self.intercept
        residual = (_rows(target) - predicted) @ self.whiten
        if self.network is not None and self.finish is not None:
            features = _rows(context.features(source, valid))
            residual = (residual - self.network.correction(features)) @ self.finish
        return (residual**2).mean(-1)

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


@dataclass(frozen=True)
class ChangeDetector:
    """Root mean energy of both directions, smoothed over valid neighbours."""

    before: Normaliser
    after: Normaliser
    forward: Direction
    backward: Direction

    @property
    def halo(self) -> int:
        return _halo(network=self.forward.network is not None)

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        device = self.forward.slope.device
        valid = torch.from_numpy(batches[0].valid & batches[1].valid).to(device)
        before, after = (
            normalise(torch.from_numpy(batch.data).to(device)) * valid[:, None]
            for normalise, batch in zip((self.before, self.after), batches, strict=True)
        )
        forward = self.forward.energy(before, after, valid)
        backward = self.backward.energy(after, before, valid)
        energies = (forward + backward) / 2
        root = energies.sqrt().view(valid.shape)[:, None]
        smooth = context.blur(root, valid, SMOOTHING)[:, 0]
        return np.asarray(smooth.masked_fill(~valid, torch.nan).cpu().numpy())

    def to(self, device: torch.device) -> ChangeDetector:
        return ChangeDetector(
            self.before.to(device),
            self.after.to(device),
            self.forward.to(device),
            self.backward.to(device),
        )

    def state(self) -> State:
        directions = {"forward": self.forward, "backward": self.backward}
        config: dict[str, Any] = {"before": self.before.config(), "after": self.after.config()}
        tensors: dict[str, NDArray[Any]] = {}
        for name, direction in directions.items():
            for part in ("slope", "intercept", "whiten", "finish"):
                value = getattr(direction, part)
                if value is not None:
                    tensors[f"{name}.{part}"] = value.cpu().numpy()
            if direction.network is not None:
                config[name] = asdict(direction.network.config)
                tensors |= network_tensors(direction.network, f"{name}.network.")
        return State(config, tensors)


def _restore(state: State) -> ChangeDetector:
    return ChangeDetector(
        Normaliser.from_config(state.config["before"]),
        Normaliser.from_config(state.config["after"]),
        _restore_direction(state, "forward"),
        _restore_direction(state, "backward"),
    )


def _restore_direction(state: State, name: str) -> Direction:
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


@dataclass(frozen=True)
class ChangeFamily:
    """Fits change detectors, with the network or without."""

    network: bool

    @property
    def halo(self) -> int:
        return _halo(network=self.network)

    def fit(self, sample: Sample, options: FitOptions) -> ChangeDetector:
        """Linear relation, then the network in two rounds, each weighted by the last residual.

        At most 60 s on two cores whatever the scene's size: the sample is bounded.
        """
        before = fit_normaliser(sample, 0, log=options.log[0])
        after = fit_normaliser(sample, 1, log=options.log[1])
        pixels = _gather(sample, (before, after), options.seed, features=self.network)
        chosen = slice(0, MAX_PIXELS)  # the order is random already
        backbone = fit_backbone(
            pixels.before[chosen].double().numpy(), pixels.after[chosen].double().numpy()
        )
        forward, backward = _direction(backbone.forward), _direction(backbone.backward)
        if self.network:
            forward, backward = _correct(backbone, pixels, options)
        return ChangeDetector(before, after, forward, backward)

    def restore(self, state: State) -> ChangeDetector:
        return _restore(state)


CVAE = ChangeFamily(network=True)
RWR = ChangeFamily(network=False)


def _halo(*, network: bool) -> int:
    return context.radius(SMOOTHING) + (context.RADIUS if network else 0)


@dataclass(frozen=True)
class _Pixels:
    """Sampled core pixels in random order, normalised: (pixels, bands), (pixels, features).

    held_out: bool (pixels,).
    """

    before: Tensor
    after: Tensor
    before_features: Tensor
    after_features: Tensor
    held_out: Tensor


def _gather(
    sample: Sample, normalisers: tuple[Normaliser, Normaliser], seed: int, *, features: bool
) -> _Pixels:
    """At most 200,000 core pixels with their context, window by window to save memory."""
    generator = np.random.default_rng(seed)
    held_out = held_out_blocks(sample.core, generator)
    bands = sum(batch.data.shape[1] for batch in sample.batches)
    limit = min(200_000, MAX_FEATURE_VALUES // (6 * bands))
    order = generator.permutation(len(held_out))[:limit]
    parts: list[list[Tensor]] = [[], [], [], []]
    for number in range(len(sample.core)):
        valid = torch.from_numpy(
            np.logical_and.reduce([batch.valid[number : number + 1] for batch in sample.batches])
        )
        core = torch.from_numpy(sample.core[number].reshape(-1))
        for scene, normalise in enumerate(normalisers):
            data = torch.from_numpy(sample.batches[scene].data[number : number + 1])
            date = normalise(data) * valid[:, None]
            parts[scene].append(_rows(date)[core])
            context_of = context.features(date, valid) if features else date[:, :0]
            parts[2 + scene].append(_rows(context_of)[core])
    before, after, before_features, after_features = (torch.cat(part)[order] for part in parts)
    return _Pixels(
        before, after, before_features, after_features, torch.from_numpy(held_out[order])
    )


def _rows(data: Tensor) -> Tensor:
    """(n, c, y, x) -> (n y x, c), one row a pixel."""
    return data.permute(0, 2, 3, 1).flatten(0, 2)


def _direction(relation: Relation) -> Direction:
    return Direction(_tensor(relation.slope), _tensor(relation.intercept), _tensor(relation.whiten))


def _tensor(matrix: Matrix) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float32))


def _correct(
    backbone: Backbone, pixels: _Pixels, options: FitOptions
) -> tuple[Direction, Direction]:
    """Train both directions' networks; the no-change weights are refitted between the rounds."""
    before, after = pixels.before.double().numpy(), pixels.after.double().numpy()
    tasks = (
        _Task(backbone.forward, before, after, pixels.before, pixels.before_features),
        _Task(backbone.backward, after, before, pixels.after, pixels.after_features),
    )
    bands = (after.shape[1], before.shape[1])
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    directions = [task.start() for task in tasks]
    weight = _weight(tasks, directions, bands)
    step = (options.end - options.start) / (len(ROUNDS) * len(tasks))
    at = options.start
    for number, schedule in enumerate(ROUNDS):
        for index, task in enumerate(tasks):
            name = f"{('before to after', 'after to before')[index]}, round {number + 1}"
            watch = Watch(options.report, at, at + step, name)
            at += step
            directions[index] = task.train(
                directions[index], weight, pixels.held_out, schedule, watch, generator
            )
        weight = _weight(tasks, directions, bands)
        directions = [
            task.finish(direction, weight)
            for task, direction in zip(tasks, directions, strict=True)
        ]
    return directions[0], directions[1]


def _weight(
    tasks: tuple[_Task, _Task], directions: list[Direction], bands: tuple[int, int]
) -> Matrix:
    forward, backward = (
        task.energies(direction) for task, direction in zip(tasks, directions, strict=True)
    )
    return shared_weight(forward, backward, bands)


@dataclass(frozen=True)
class _Task:
    """One direction's training data. source, target: float64 for the linear part."""

    relation: Relation
    source: Matrix
    target: Matrix
    source_tensor: Tensor
    features: Tensor

    @property
    def residual(self) -> Matrix:
        return self.relation.residual(self.source, self.target)

    def start(self) -> Direction:
        config = TranslationConfig(
            self.features.shape[1], self.source.shape[1], self.target.shape[1]
        )
        network = TranslationVae(config)
        set_scaling(network, self.features)
        return replace(
            _direction(self.relation), network=network, finish=torch.eye(self.target.shape[1])
        )

    def train(
        self,
        direction: Direction,
        weight: Matrix,
        held_out: Tensor,
        schedule: Schedule,
        watch: Watch,
        generator: torch.Generator,
    ) -> Direction:
        network = direction.network
        assert network is not None
        residual = torch.from_numpy(self.residual.astype(np.float32))

        def loss(indexes: Tensor) -> Tensor:
            return network.loss(
                self.features[indexes], self.source_tensor[indexes], residual[indexes]
            )

        train(network, loss, _tensor(weight), held_out, schedule, watch, generator)
        network.eval()
        return direction

    def left(self, direction: Direction) -> Matrix:
        """Whitened linear residual less its correction, (pixels, target)."""
        assert direction.network is not None
        with torch.inference_mode():
            correction = direction.network.correction(self.features).double().numpy()
        return np.asarray(self.residual - correction)

    def energies(self, direction: Direction) -> Matrix:
        assert direction.finish is not None
        return energy(self.left(direction) @ direction.finish.double().numpy())

    def finish(self, direction: Direction, weight: Matrix) -> Direction:
        return replace(direction, finish=_tensor(whitener(self.left(direction), weight)))
