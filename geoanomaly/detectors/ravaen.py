"""RaVAEn: how far apart the two dates of a place lie in the latent space of a VAE of tiles.

Ruzicka et al. 2022, Scientific Reports 12:16939, with the small network of their code:
blocks of 32 x 32 px, three strided convolutions, a code of 128, cosine distance of the
means. Theirs is trained on many places beforehand; this one on the scene itself. Where
band counts differ, it sees the mean of the normalised bands.

Published, a block has one score. Dense, blocks start every 8 px, and a pixel's score lies
between those of the blocks whose centres surround it. Blocks start at multiples of 32 (or
8) px of the job's grid, which a detector knows as multiples from the corner of what it is
given: the halo is one block, and tiles are multiples of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own abbreviation
from numpy.typing import NDArray
from torch import Tensor, nn

from geoanomaly.detectors.base import FitOptions, State, load_network, network_tensors
from geoanomaly.detectors.dates import Dates, fit_dates
from geoanomaly.networks import divergence
from geoanomaly.scenes.sampling import Sample
from geoanomaly.training import HELD_OUT_SHARE, Schedule, Watch, train
from geoanomaly.types import Setting
from tiling.types import TileBatch

BLOCK = 32
DENSE_STRIDE = 8
CHANNELS = (16, 32, 64)
LATENT = 128

KL_WEIGHT = 1e-3
"""Beside a mean square error of one value. The authors' code has batch size / training tiles."""

SCHEDULE = Schedule(steps=500, batch=16, look=100)
MAX_HELD_OUT = 64
MAX_BATCH_BANDS = 300
"""Places in a batch times bands: beyond, a step costs more, so a batch has fewer places."""


class TileVae(nn.Module):
    """A convolutional VAE of blocks, (n, bands, 32, 32)."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        edge = BLOCK // 2 ** len(CHANNELS)
        self._innermost = (CHANNELS[-1], edge, edge)
        flat = math.prod(self._innermost)
        widths = (bands, *CHANNELS)
        self.encoder = nn.Sequential(
            *(_down(*pair) for pair in zip(widths, CHANNELS, strict=False)), nn.Flatten()
        )
        self.code = nn.Linear(flat, 2 * LATENT)
        self.start = nn.Linear(LATENT, flat)
        self.decoder = nn.Sequential(
            *(_up(*pair) for pair in zip(CHANNELS[::-1], CHANNELS[-2::-1], strict=False)),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(CHANNELS[0], bands, 3, padding=1),
        )

    def encode(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the code, each (n, latent)."""
        mean, log_variance = self.code(self.encoder(blocks)).chunk(2, dim=-1)
        return mean, log_variance.clamp(-8, 4)

    def decode(self, code: Tensor) -> Tensor:
        """(n, latent) -> (n, bands, 32, 32)."""
        return torch.as_tensor(self.decoder(_fast(self.start(code).view(-1, *self._innermost))))

    def loss(self, blocks: Tensor) -> Tensor:
        """Mean square error and weighted KL divergence, (n,)."""
        mean, log_variance = self.encode(blocks)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        error = (blocks - self.decode(code)).square().mean((1, 2, 3))
        return torch.as_tensor(error + KL_WEIGHT * divergence(mean, log_variance))


def _fast(data: Tensor) -> Tensor:
    """The same numbers in the layout in which these convolutions train twice as fast."""
    return data.contiguous(memory_format=torch.channels_last)


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.LeakyReLU()
    )


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(),
    )


@dataclass(frozen=True)
class RavaenDetector:
    """Cosine distance of the two dates' codes, 0 to 2. stride: pixels between blocks."""

    calibrated: ClassVar[bool] = False

    dates: Dates
    network: TileVae
    stride: int

    @property
    def halo(self) -> int:
        return BLOCK

    @torch.inference_mode()
    def score(self, batches: tuple[TileBatch, ...]) -> NDArray[np.float32]:
        before, after, valid = self.dates(batches)
        height, width = valid.shape[1:]
        over = (0, -width % BLOCK, 0, -height % BLOCK)
        dates = [F.pad(data, over) for data in _alike(before, after)]
        distance = torch.stack(
            [
                self._distances(*(data[:, :, top : top + BLOCK] for data in dates))
                for top in range(0, dates[0].shape[2] - BLOCK + 1, self.stride)
            ],
            dim=1,
        )
        spread = _to_pixels(distance, self.stride)[:, :height, :width]
        return np.asarray(spread.masked_fill(~valid, torch.nan).cpu().numpy())

    def _distances(self, before: Tensor, after: Tensor) -> Tensor:
        """Of the blocks of a strip: (n, band, 32, x) each -> (n, blocks)."""
        before_code, after_code = (self._codes(strip) for strip in (before, after))
        return 1 - F.cosine_similarity(before_code, after_code, dim=-1)

    def _codes(self, strip: Tensor) -> Tensor:
        """(n, band, 32, x) -> (n, blocks, latent)."""
        blocks = strip.unfold(3, BLOCK, self.stride).permute(0, 3, 1, 2, 4)
        mean, _ = self.network.encode(blocks.flatten(0, 1))
        return mean.view(*blocks.shape[:2], LATENT)

    def to(self, device: torch.device) -> RavaenDetector:
        return RavaenDetector(self.dates.to(device), self.network.to(device), self.stride)

    def state(self) -> State:
        config = {**self.dates.config(), "stride": self.stride, "bands": self.network.bands}
        return State(config, network_tensors(self.network, "network."))


@dataclass(frozen=True)
class RavaenFamily:
    """Trains the VAE on blocks of both dates; about 20 s on one thread."""

    stride: int

    def halo(self, setting: Setting) -> int:
        return BLOCK

    def fit(self, sample: Sample, options: FitOptions) -> RavaenDetector:
        dates = fit_dates(sample, options.setting.log)
        torch.manual_seed(options.seed)
        generator = torch.Generator().manual_seed(options.seed)
        blocks = _Blocks(sample, dates)
        network = TileVae(blocks.bands)
        count = len(blocks.positions)
        held_out = torch.zeros(count, dtype=torch.bool)
        chosen = min(max(round(HELD_OUT_SHARE * count), 1), MAX_HELD_OUT)
        held_out[torch.randperm(count, generator=generator)[:chosen]] = True
        watch = Watch(options.report, options.start, options.end, "blocks of 32 px")
        batch = min(SCHEDULE.batch, max(MAX_BATCH_BANDS // blocks.bands, 2))
        train(
            network,
            lambda indexes: network.loss(blocks(indexes)).view(2, -1).mean(0),
            torch.ones(count),
            held_out,
            replace(SCHEDULE, batch=batch),
            watch,
            generator,
        )
        return RavaenDetector(dates, network.eval(), self.stride)

    def restore(self, state: State) -> RavaenDetector:
        network = load_network(TileVae(state.config["bands"]), state.tensors, "network.")
        return RavaenDetector(Dates.from_config(state.config), network, state.config["stride"])


RAVAEN = RavaenFamily(BLOCK)
RAVAEN_DENSE = RavaenFamily(DENSE_STRIDE)


class _Blocks:
    """Blocks of a sample's windows, every 8 px, with at least half as much to learn as any.

    positions: (blocks, 3), window, row and column.
    """

    def __init__(self, sample: Sample, dates: Dates) -> None:
        self._dates = dates
        self._core = _every(torch.from_numpy(sample.core)[:, None])
        self._data = [_every(torch.from_numpy(batch.data)) for batch in sample.batches]
        share = F.avg_pool2d(torch.from_numpy(sample.core).float(), BLOCK, DENSE_STRIDE)
        self.positions = (share >= share.max() / 2).nonzero()
        counts = {batch.data.shape[1] for batch in sample.batches}
        self.bands = counts.pop() if len(counts) == 1 else 1

    def __call__(self, indexes: Tensor) -> Tensor:
        """Those blocks before, then after: (2 indexes, band, 32, 32), 0 outside the core."""
        window, row, col = self.positions[indexes].unbind(1)
        core = self._core[window, :, row, col]
        before, after = (
            normalise(data[window, :, row, col]) * core
            for normalise, data in zip(
                (self._dates.before, self._dates.after), self._data, strict=True
            )
        )
        return _fast(torch.cat(_alike(before, after)))


def _every(data: Tensor) -> Tensor:
    """(n, c, y, x) -> its blocks as a view, (n, c, rows, columns, 32, 32)."""
    return data.unfold(2, BLOCK, DENSE_STRIDE).unfold(3, BLOCK, DENSE_STRIDE)


def _alike(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """As many bands at both dates: themselves, or their means."""
    if before.shape[1] == after.shape[1]:
        return before, after
    return before.mean(1, keepdim=True), after.mean(1, keepdim=True)


def _to_pixels(values: Tensor, stride: int) -> Tensor:
    """Of blocks (n, rows, columns) -> of pixels (n, y, x), bilinear between centres."""
    mode = "nearest" if stride == BLOCK else "bilinear"
    spread = F.interpolate(values[:, None], scale_factor=stride, mode=mode)
    margin = (BLOCK - stride) // 2  # from a block's corner to the stride-wide square at its centre
    return F.pad(spread, (margin,) * 4, mode="replicate")[:, 0]
