"""How much of one date's structure the other explains, at every small displacement of the two.

What two dates of a place share, whatever the sensor, season and gain, is where
things are: edges, fields, texture. So each date becomes a few features of its
local structure, whitened, and the squared canonical correlations of the two sets
(Hotelling 1936, Biometrika 28) are taken at every displacement at once by FFT.
Where they peak the dates lie on each other; what they reach far from there, and
between windows of different places, is what chance reaches.

Windows are float32 (n, band, y, x), z-scored, with their validity, bool (n, y, x);
windows of two dates lie on one grid. Displacements are (rows, columns) in pixels by
which the before scene has to be moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, next_fast_len, rfft2, rfftfreq
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]
Spectrum = NDArray[np.complex64]
Valid = NDArray[np.bool_]
Shift = tuple[float, float]

REACH = 32
"""Largest displacement that is looked at, in pixels."""

COMPONENTS = 3
"""Of the bands of a date: more would add noise and time, not structure."""

HIGH_PASS, TEXTURE = 8.0, 1.5
"""Gaussian sigmas in pixels: what is called local, and the scale of its roughness."""

SLACK, NEAR = 3, 12
"""Displacements that count as the same place, and those that share its peak, in pixels: what is
further away is a measure of chance."""

PAIRINGS = 4
"""How often each window is paired with one of another place."""

STEP = 0.05
"""Resolution of a displacement in pixels."""

CLIP = 4.0
RIDGE = 1e-3
_FLAT = 1e-6


def local_structure(data: Array, valid: Valid) -> Array:
    """Features of local structure, (n, feature, y, x): uncorrelated, of unit variance, 0 = invalid.

    Main components of the bands and their local roughness, both without what is
    broader than `HIGH_PASS`. None of them where the bands are constant.
    """
    parts = components(data, valid, COMPONENTS)
    if parts.shape[1] == 0:
        return parts
    bands = parts.transpose(1, 0, 2, 3)
    features = [_local(band, valid) for band in bands]
    features += [_local(_roughness(band, valid), valid) for band in bands]
    return _whitened(np.stack(features, axis=1), valid)


def components(data: Array, valid: Valid, count: int) -> Array:
    """At most `count` main components of the bands' local structure, (n, count, y, x).

    Local structure is what pixels `HIGH_PASS` apart differ in, so that slow trends
    of single bands do not lead.
    """
    step = min(int(HIGH_PASS), data.shape[3] - 1)
    both = valid[:, :, step:] & valid[:, :, :-step]
    differences = (data[..., step:] - data[..., :-step]).transpose(1, 0, 2, 3)[:, both]
    if differences.size == 0:
        return data[:, :0]
    power, vectors = np.linalg.eigh(_covariance(np.clip(differences, -CLIP, CLIP)))
    kept = vectors[:, ::-1][:, : min(count, int((power > _FLAT).sum()))].astype(np.float32)
    return np.asarray(np.einsum("bk,nbyx->nkyx", kept, data) * valid[:, None])


def _covariance(pixels: Array) -> NDArray[np.float64]:
    """Of (feature, pixels)."""
    return np.atleast_2d(np.cov(pixels, bias=True))


def _blur(data: Array, valid: Valid, sigma: float) -> Array:
    """Gaussian mean of valid neighbours within each window, (n, y, x)."""
    scale = (0.0, sigma, sigma)
    weight = gaussian_filter(valid.astype(np.float32), scale, mode="constant", truncate=3.0)
    total = gaussian_filter(data * valid, scale, mode="constant", truncate=3.0)
    return np.asarray(total / np.maximum(weight, _FLAT))


def _local(data: Array, valid: Valid) -> Array:
    """Without its blurred self, in robust units, clipped: one bright roof must not be the scene."""
    rest = data - _blur(data, valid, HIGH_PASS)
    scale = 1.4826 * float(np.median(np.abs(rest[valid])))
    scale = scale if scale > _FLAT else max(float(rest[valid].std()), _FLAT)
    return np.asarray(np.clip(rest / scale, -CLIP, CLIP) * valid)


def _roughness(data: Array, valid: Valid) -> Array:
    """Log of the local variance."""
    rest = (data - _blur(data, valid, TEXTURE)) ** 2
    floor = RIDGE * float(rest[valid].mean()) + _FLAT**2
    return np.asarray(np.log(_blur(rest, valid, TEXTURE) + floor))


def _whitened(features: Array, valid: Valid) -> Array:
    pixels = features.transpose(1, 0, 2, 3)[:, valid]
    power, vectors = np.linalg.eigh(_covariance(pixels))
    whiten = (vectors / np.sqrt(np.maximum(power, RIDGE * power.max()))).astype(np.float32)
    centred = features - pixels.mean(axis=1)[None, :, None, None]
    return np.asarray(np.einsum("bk,nbyx->nkyx", whiten, centred) * valid[:, None])


@dataclass(frozen=True)
class Agreement:
    """How much of the structure of two dates is common, by displacement.

    covariance: of the features, (before, after, 2 reach + 1, 2 reach + 1), no
        displacement in the middle.
    explained: mean squared canonical correlation, (2 reach + 1, 2 reach + 1).
    elsewhere: the most that windows of different places have in common; 0 with one window.
    """

    covariance: Array
    explained: Array
    elsewhere: float

    @property
    def peak(self) -> tuple[int, int]:
        """Indexes of the displacement that explains most."""
        return _top(self.explained)

    def here(self, displacement: Shift) -> float:
        """What is explained at a displacement, or `SLACK` pixels from it where that is more."""
        return float(self.explained[self._distance(displacement) <= SLACK].max(initial=0.0))

    def chance(self, displacement: Shift) -> float:
        """The most that is explained where nothing should be: far from it, and elsewhere."""
        far = self.explained[self._distance(displacement) > NEAR]
        return max(float(far.max(initial=0.0)), self.elsewhere, _FLAT)

    def _distance(self, displacement: Shift) -> NDArray[np.float64]:
        """Of each entry from a displacement, the larger of rows and columns."""
        reach = self.explained.shape[0] // 2
        steps = np.arange(-reach, reach + 1)
        rows, cols = (np.abs(steps - part) for part in displacement)
        return np.maximum.outer(rows, cols)


@dataclass(frozen=True)
class Overlay:
    """Two dates, window by window, ready to be laid on each other at any displacement.

    before, after: spectra of features, (n, feature, v, u); valid: that of validity,
        (n, v, u); size: of the transform; reach: largest displacement.
    """

    before: Spectrum
    after: Spectrum
    valid: Spectrum
    size: int
    reach: int

    def agreement(self) -> Agreement:
        """Of all windows together, judged against windows paired with those of other places."""
        overlap = self._around_zero((self.valid.conj() * self.valid).sum(axis=0))
        overlap = np.maximum(overlap, overlap.max() / 4)
        covariance = self._covariance(0) / overlap
        explained = _explained(covariance)
        pairings = range(1, min(len(self.before), PAIRINGS + 1))
        elsewhere = [_explained(self._covariance(each) / overlap).max() for each in pairings]
        return Agreement(covariance, explained, float(max(elsewhere, default=0.0)))

    def located(self, agreement: Agreement) -> tuple[Shift, NDArray[np.float64]]:
        """The displacement that explains most: of all windows, and of each by itself, (n, 2).

        Between pixels, by the relation between the features that all windows have at the
        best whole one.
        """
        relation = agreement.covariance[:, :, *agreement.peak]
        common = np.stack(
            [
                np.einsum("pq,pvu,qvu->vu", relation, before.conj(), after, optimize=True)
                for before, after in zip(self.before, self.after, strict=True)
            ]
        )
        each = [self._between(one, _top(self._around_zero(one))) for one in common]
        return self._between(common.sum(axis=0), agreement.peak), np.array(each)

    def _between(self, spectrum: Spectrum, peak: tuple[int, int]) -> Shift:
        """The top of a surface within a pixel of a peak, exact but for `STEP`.

        The sum of its waves, evaluated between pixels (Guizar-Sicairos et al. 2008, Opt.
        Lett. 33); a parabola through three pixels would lean to the middle one.
        """
        near = np.arange(-1, 1 + STEP / 2, STEP)
        down, right = (part - self.reach + near for part in peak)
        rows = np.exp(2j * np.pi * np.outer(down, fftfreq(self.size)))
        cols = np.exp(2j * np.pi * np.outer(rfftfreq(self.size), right))
        cols[1 : (self.size + 1) // 2] *= 2  # waves that rfft2 leaves out, being mirror images
        row, col = _top((rows @ spectrum @ cols).real)
        return float(down[row]), float(right[col])

    def _covariance(self, further: int) -> Array:
        """Sums of products of features; windows of before are paired with the `further` next."""
        after = np.roll(self.after, -further, axis=0)
        features = self.before.shape[1], after.shape[1]
        total = np.zeros((*features, *after.shape[2:]), dtype=after.dtype)
        for first, second in zip(self.before, after, strict=True):
            total += first.conj()[:, None] * second[None]
        return self._around_zero(total)

    def _around_zero(self, spectrum: Spectrum) -> Array:
        """Back from frequencies: the displacements within reach, none in the middle."""
        surface = irfft2(spectrum, (self.size, self.size))
        index = np.arange(-self.reach, self.reach + 1)
        return np.asarray(surface[..., index[:, None], index[None, :]])


def overlay(windows: tuple[Array, Array], valid: Valid) -> Overlay | None:
    """Of windows of two dates, both valid there; None where one of them has no structure."""
    dates = [local_structure(date, valid) for date in windows]
    if any(features.shape[1] == 0 for features in dates):
        return None
    height, width = windows[0].shape[2:]
    reach = min(REACH, min(height, width) // 3)
    size = next_fast_len(max(height, width) + reach, real=True)  # so that nothing wraps around
    before, after = (rfft2(features, (size, size)) for features in dates)
    shapes = np.asarray(rfft2(valid.astype(np.float32), (size, size)), np.complex64)
    return Overlay(before, after, shapes, size, reach)


def _explained(covariance: Array) -> Array:
    """Mean squared canonical correlation of whitened features, per displacement."""
    return np.asarray((covariance**2).sum(axis=(0, 1)) / min(covariance.shape[:2]))


def _top(surface: Array) -> tuple[int, int]:
    row, col = np.unravel_index(int(surface.argmax()), surface.shape)
    return int(row), int(col)
