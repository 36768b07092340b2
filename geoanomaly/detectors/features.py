"""The view of pretrained features: what texture and shape do not foretell of each other.

Where pixels are small, a changed building is no unusual pixel but an unusual pattern.
The features of a network trained on photographs know patterns; which of their
dimensions matter here, and what of them changes without change, is learnt from the
pair itself, by the linear relation that is used on bands too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from torch import Tensor

from geoanomaly import pretrained
from geoanomaly.backbone import fit_backbone
from geoanomaly.detectors.base import State, network_tensors
from geoanomaly.detectors.direction import (
    Direction,
    direction_state,
    linear_direction,
    restore_direction,
    to_tensor,
)
from geoanomaly.detectors.rows import rows
from geoanomaly.pretrained import Trunk
from geoanomaly.scenes.sampling import Sample, pick
from geoanomaly.scenes.sensors import display_bands

DIMENSIONS = 12
MAX_PIXELS = 60_000
CLAMP = 4.0
"""Deviations of the input: a photograph has no brighter pixels."""


@dataclass(frozen=True)
class FeatureView:
    """Mean energy of both directions on projected features.

    bands: per date, the three that are shown to the network, 0-based.
    project (channels, k), offset (k,): per date; standardise and turn the features.
    """

    trunk: Trunk
    blocks: int
    bands: tuple[tuple[int, ...], tuple[int, ...]]
    project: tuple[Tensor, Tensor]
    offset: tuple[Tensor, Tensor]
    forward: Direction
    backward: Direction

    @property
    def reach(self) -> int:
        return pretrained.reach(self.blocks)

    def energy(self, before: Tensor, after: Tensor, valid: Tensor) -> Tensor:
        source, target = (
            F.conv2d(_features(self.trunk, data, bands), project.T[:, :, None, None], -offset)
            for data, bands, project, offset in zip(
                (before, after), self.bands, self.project, self.offset, strict=True
            )
        )
        forward = self.forward.energy(source, target, valid)
        backward = self.backward.energy(target, source, valid)
        return (forward + backward) / 2

    def to(self, device: torch.device) -> FeatureView:
        return FeatureView(
            self.trunk.to(device),
            self.blocks,
            self.bands,
            (self.project[0].to(device), self.project[1].to(device)),
            (self.offset[0].to(device), self.offset[1].to(device)),
            self.forward.to(device),
            self.backward.to(device),
        )

    def state(self) -> State:
        forward = direction_state(self.forward, "forward")
        backward = direction_state(self.backward, "backward")
        tensors = {
            f"{name}.{date}": getattr(self, name)[date].cpu().numpy()
            for name in ("project", "offset")
            for date in (0, 1)
        }
        return State(
            {"view": "features", "blocks": self.blocks, "bands": self.bands},
            # The network too: a model must not depend on what is installed later.
            {
                **tensors,
                **network_tensors(self.trunk, "trunk."),
                **forward.tensors,
                **backward.tensors,
            },
        )


def restore(state: State) -> FeatureView:
    blocks = state.config["blocks"]
    trunk = {
        name.removeprefix("trunk."): array
        for name, array in state.tensors.items()
        if name.startswith("trunk.")
    }

    def pair(name: str) -> tuple[Tensor, Tensor]:
        one, two = (torch.from_numpy(np.array(state.tensors[f"{name}.{date}"])) for date in (0, 1))
        return one, two

    before, after = (tuple(bands) for bands in state.config["bands"])
    return FeatureView(
        Trunk.load(blocks, trunk),
        blocks,
        (before, after),
        pair("project"),
        pair("offset"),
        restore_direction(state, "forward"),
        restore_direction(state, "backward"),
    )


def photograph(names: Sequence[str]) -> tuple[int, ...]:
    """The bands that make a photograph of a scene, 0-based (red, green, blue); grey thrice."""
    shown = next(iter(display_bands(names).values()))
    return tuple(band - 1 for band in (shown * 3 if len(shown) == 1 else shown))


@torch.inference_mode()
def fit_features(
    sample: Sample,
    dates: Iterable[tuple[Tensor, Tensor, Tensor]],
    bands: tuple[tuple[int, ...], tuple[int, ...]],
    blocks: int,
    seed: int,
) -> FeatureView:
    """Fit the projection and the no-change relation on at most `MAX_PIXELS` core pixels.

    dates: per window of the sample, normalised before, after and valid.
    """
    trunk = Trunk.load(blocks, pretrained.weights())
    picked = pick(sample, MAX_PIXELS, np.random.default_rng(seed))
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for window, positions in zip(dates, picked.windows, strict=True):
        if not len(positions):
            continue
        for date in (0, 1):
            seen = rows(_features(trunk, window[date], bands[date]))
            parts[date].append(seen[torch.from_numpy(positions)])
    features = [torch.cat(part).double().numpy() for part in parts]
    spread = [each.std(axis=0) + 1e-6 for each in features]
    standard = [
        (each - each.mean(axis=0)) / deviation
        for each, deviation in zip(features, spread, strict=True)
    ]
    # Joint principal components: the same axes at both dates, or they could not be compared.
    covariance = sum(each.T @ each for each in standard)
    _, axes = np.linalg.eigh(covariance)
    axes = axes[:, ::-1][:, :DIMENSIONS]
    turned = [each @ axes for each in standard]
    axes = axes / np.sqrt(sum(each.var(axis=0) for each in turned) / 2 + 1e-12)
    project = [axes / deviation[:, None] for deviation in spread]
    offset = [
        each.mean(axis=0) @ projection for each, projection in zip(features, project, strict=True)
    ]
    before, after = (each @ axes for each in standard)
    backbone = fit_backbone(before, after)
    return FeatureView(
        trunk,
        blocks,
        bands,
        (to_tensor(project[0]), to_tensor(project[1])),
        (to_tensor(offset[0]), to_tensor(offset[1])),
        linear_direction(backbone.forward),
        linear_direction(backbone.backward),
    )


def _features(trunk: Trunk, data: Tensor, bands: tuple[int, ...]) -> Tensor:
    """Normalised bands (n, band, y, x) -> (n, channels, y, x)."""
    return torch.as_tensor(trunk(data[:, list(bands)].clamp(-CLAMP, CLAMP)))
