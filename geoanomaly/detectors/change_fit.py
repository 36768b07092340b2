"""Fitting the network that corrects the linear no-change relation, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geoanomaly import context
from geoanomaly.backbone import Backbone, Matrix, Relation, energy, shared_weight, whitener
from geoanomaly.detectors.base import FitOptions
from geoanomaly.detectors.direction import Direction, linear_direction, to_tensor
from geoanomaly.detectors.rows import rows
from geoanomaly.networks import TranslationConfig, TranslationVae, set_scaling
from geoanomaly.normalise import Normaliser
from geoanomaly.scenes.sampling import Sample, pick
from geoanomaly.training import Schedule, Watch, held_out_blocks, train

ROUNDS = (Schedule(steps=300, batch=4096), Schedule(steps=150, batch=4096, rate=1e-3))
MAX_FEATURE_VALUES = 32_000_000


@dataclass(frozen=True)
class Pixels:
    """Sampled core pixels in random order, normalised: (pixels, bands), (pixels, features).

    held_out: bool (pixels,).
    """

    before: Tensor
    after: Tensor
    before_features: Tensor
    after_features: Tensor
    held_out: Tensor


def gather(
    sample: Sample, normalisers: tuple[Normaliser, Normaliser], seed: int, *, features: bool
) -> Pixels:
    """At most 200,000 core pixels with their context, window by window to save memory."""
    generator = np.random.default_rng(seed)
    held_out = held_out_blocks(sample.core, generator)
    bands = sum(batch.data.shape[1] for batch in sample.batches)
    limit = min(200_000, MAX_FEATURE_VALUES // (6 * bands))
    picked = pick(sample, limit, generator)
    parts: list[list[Tensor]] = [[], [], [], []]
    for number, positions in enumerate(picked.windows):
        valid = torch.from_numpy(
            np.logical_and.reduce([batch.valid[number : number + 1] for batch in sample.batches])
        )
        for scene, normalise in enumerate(normalisers):
            data = torch.from_numpy(sample.batches[scene].data[number : number + 1])
            date = normalise(data) * valid[:, None]
            parts[scene].append(rows(date)[positions])
            context_of = context.features(date, valid) if features else date[:, :0]
            parts[2 + scene].append(rows(context_of)[positions])
    before, after, before_features, after_features = (
        torch.cat(part)[picked.order] for part in parts
    )
    return Pixels(
        before, after, before_features, after_features, torch.from_numpy(held_out[picked.number])
    )


def correct(backbone: Backbone, pixels: Pixels, options: FitOptions) -> tuple[Direction, Direction]:
    """Train both directions' networks; the no-change weights are refitted between the rounds."""
    before, after = pixels.before.double().numpy(), pixels.after.double().numpy()
    forward, backward = _train(
        (
            _Task(
                "before to after", backbone.forward, before, after,
                pixels.before, pixels.before_features,
            ),
            _Task(
                "after to before", backbone.backward, after, before,
                pixels.after, pixels.after_features,
            ),
        ),
        pixels.held_out,
        options,
    )  # fmt: skip
    return forward, backward


def correct_forward(relation: Relation, pixels: Pixels, options: FitOptions) -> Direction:
    """Train the network of one direction alone; its weights are refitted between the rounds."""
    before, after = pixels.before.double().numpy(), pixels.after.double().numpy()
    task = _Task("forecast", relation, before, after, pixels.before, pixels.before_features)
    return _train((task,), pixels.held_out, options)[0]


def _train(tasks: Sequence[_Task], held_out: Tensor, options: FitOptions) -> list[Direction]:
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    directions = [task.start() for task in tasks]
    weight = _weight(tasks, directions)
    step = (options.end - options.start) / (len(ROUNDS) * len(tasks))
    at = options.start
    for number, schedule in enumerate(ROUNDS):
        for index, task in enumerate(tasks):
            watch = Watch(options.report, at, at + step, f"{task.name}, round {number + 1}")
            at += step
            directions[index] = task.train(
                directions[index], weight, held_out, schedule, watch, generator
            )
        weight = _weight(tasks, directions)
        directions = [
            task.finish(direction, weight)
            for task, direction in zip(tasks, directions, strict=True)
        ]
    return directions


def _weight(tasks: Sequence[_Task], directions: list[Direction]) -> Matrix:
    """One for all directions."""
    energies = [task.energies(direction) for task, direction in zip(tasks, directions, strict=True)]
    return shared_weight(energies, [task.target.shape[1] for task in tasks])


@dataclass(frozen=True)
class _Task:
    """One direction's training data. source, target: float64 for the linear part."""

    name: str
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
            linear_direction(self.relation), network=network, finish=torch.eye(self.target.shape[1])
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

        train(network, loss, to_tensor(weight), held_out, schedule, watch, generator)
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
        return replace(direction, finish=to_tensor(whitener(self.left(direction), weight)))
