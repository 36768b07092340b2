"""Common structure of two dates by displacement, and the shift that is made of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter

from geoanomaly.pairs import registration
from geoanomaly.pairs.registration import MIN_SHIFT, Misregistration, move, register
from geoanomaly.pairs.structure import REACH, local_structure, overlay
from tests.rasters import texture

Array = NDArray[np.float32]
MARGIN = 40


def ground(seed: int, bands: int, size: int) -> NDArray[np.float64]:
    """Fields and texture of many sizes, (band, y, x), z-scored."""
    rng = np.random.default_rng(seed)
    cover = sum(gaussian_filter(rng.normal(size=(3, size, size)), (0, s, s)) * s for s in (1, 2, 5))
    data = np.tensordot(rng.normal(size=(bands, 3)), cover, 1)
    return np.asarray((data - data.mean((1, 2), keepdims=True)) / data.std((1, 2), keepdims=True))


def shifted(data: NDArray[np.float64], by: tuple[float, float]) -> NDArray[np.float64]:
    """Moved down and right by any part of a pixel, without loss."""
    return np.stack([np.fft.ifftn(fourier_shift(np.fft.fftn(band), by)).real for band in data])


def windows(data: NDArray[np.float64], count: int = 2, size: int = 96) -> Array:
    """A grid of count x count windows from the middle of a scene."""
    starts = [MARGIN + size * step for step in range(count)]
    cut = [data[:, row : row + size, col : col + size] for row in starts for col in starts]
    return np.stack(cut).astype(np.float32)


def off(
    by: tuple[float, float], *, seed: int = 0, noise: float = 0.3, count: int = 2
) -> tuple[tuple[Array, Array], NDArray[np.bool_]]:
    """Two dates with other bands, gains and noise; before lies `by` off the after."""
    size = 2 * MARGIN + 96 * count
    after = ground(seed, 4, size)
    rng = np.random.default_rng(seed + 1)
    mixed = np.tensordot(rng.normal(size=(3, 4)), after, 1)
    before = shifted(mixed / mixed.std((1, 2), keepdims=True), by)
    before, after = (data + noise * rng.normal(size=data.shape) for data in (before, after))
    pair = windows(before, count), windows(after, count)
    return pair, np.ones((count**2, 96, 96), bool)


def found(pair: tuple[Array, Array], valid: NDArray[np.bool_]) -> Misregistration:
    laid = overlay(pair, valid)
    assert laid is not None
    return register(laid, laid.agreement(), pair, valid, 0)


whole = st.floats(-6, 6)


@given(whole, whole, st.integers(0, 3))
@settings(max_examples=15)
def test_any_shift_is_found_to_a_tenth_of_a_pixel(down: float, right: float, seed: int) -> None:
    laid = overlay(*off((down, right), seed=seed))
    assert laid is not None
    (rows, columns), each = laid.located(laid.agreement())
    assert (rows, columns) == pytest.approx((-down, -right), abs=0.11)
    assert np.abs(each - (rows, columns)).max() < 0.3


@pytest.mark.parametrize("by", [(1.0, 1.0), (0.6, -0.5), (0.0, 3.4), (-20.0, 11.5)])
def test_a_true_shift_is_confirmed(by: tuple[float, float]) -> None:
    measured = found(*off(by))
    assert measured.confirmed
    assert measured.shift == pytest.approx((-by[0], -by[1]), abs=0.11)


@pytest.mark.parametrize("seed", range(4))
def test_aligned_dates_are_left_alone(seed: int) -> None:
    for noise in (0.1, 1.0):
        measured = found(*off((0.0, 0.0), seed=seed, noise=noise))
        assert measured.pixels < MIN_SHIFT
        assert not measured.confirmed


def test_what_fine_structure_alone_says_is_not_believed() -> None:
    """The ground lies where it was; a fine pattern on it, a twentieth of it, lies 2 px off.

    As with shadows and facades: local structure agrees best where the ground does not.
    """
    rng = np.random.default_rng(0)
    broad, fine = (gaussian_filter(rng.normal(size=(1, 272, 272)), (0, s, s)) for s in (9, 1))
    broad, fine = broad / broad.std(), 0.05 * fine / fine.std()
    dates = broad + shifted(fine, (0.0, 2.0)), broad + fine
    before, after = (windows(date + 0.005 * rng.normal(size=date.shape)) for date in dates)
    measured = found((before, after), np.ones((4, 96, 96), bool))
    assert measured.columns < -1
    assert measured.clear
    assert measured.consensus == 1
    assert measured.residual["moved"] > measured.residual["unmoved"]
    assert not measured.confirmed


def test_smoothing_alone_does_not_pass_for_a_shift() -> None:
    """Half a pixel of interpolation takes noise away; the controls have as much of it."""
    pair, valid = off((0.0, 0.0), noise=1.5)
    residual = registration._residuals(pair, valid, (0.5, 0.5), 0)
    assert residual["moved"] < residual["unmoved"], "else this test shows nothing"
    assert not Misregistration(0.5, 0.5, 1.0, 4, True, residual).confirmed


def test_moving_is_the_inverse_of_lying_off() -> None:
    data = windows(ground(0, 2, 176 + 96))
    again = move(move(data, (3, -5)), (-3, 5))
    inner = (..., slice(6, -6), slice(6, -6))
    assert np.array_equal(again[inner], data[inner])
    assert np.isnan(move(data, (3, -5))[:, :, :3]).all()


def test_relation_of_other_sensors_is_seen() -> None:
    """After is bright where before is rough: no band of one follows a band of the other."""
    rng = np.random.default_rng(0)
    size = 2 * MARGIN + 192
    cover = gaussian_filter(rng.normal(size=(size, size)), 3) > 0
    before = np.where(cover, rng.normal(size=cover.shape), 0.1 * rng.normal(size=cover.shape))
    after = cover + 0.2 * rng.normal(size=cover.shape)
    pair = windows(before[None]), windows(after[None].astype(float))
    assert abs(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1]) < 0.02
    laid = overlay(pair, np.ones((4, 96, 96), bool))
    assert laid is not None
    agreement = laid.agreement()
    assert agreement.here((0, 0)) > 5 * agreement.chance((0, 0))


@given(st.integers(0, 50))
@settings(max_examples=10)
def test_different_places_agree_no_better_than_chance(seed: int) -> None:
    pair = tuple(windows(ground(each, 3, 272)) for each in (seed, seed + 1000))
    laid = overlay(pair, np.ones((4, 96, 96), bool))  # type: ignore[arg-type]
    assert laid is not None
    agreement = laid.agreement()
    assert agreement.here((0, 0)) < agreement.chance((0, 0))


def test_shared_holes_are_no_shared_structure() -> None:
    """Stripes without data at the same rows of two places, as Landsat 7 has them."""
    pair = tuple(windows(ground(each, 3, 272)) for each in (1, 2))
    valid = np.ones((4, 96, 96), bool)
    valid[:, np.arange(96) % 12 < 4] = False
    laid = overlay(tuple(date * valid[:, None] for date in pair), valid)  # type: ignore[arg-type]
    assert laid is not None
    agreement = laid.agreement()
    assert agreement.here((0, 0)) < agreement.chance((0, 0))


def test_agreement_against_a_plain_loop() -> None:
    """Covariances of features at displacements, pixel by pixel, where both dates are valid."""
    (before, after), valid = off((2.0, -1.0), count=1)
    valid = valid.copy()
    valid[:, 20:25] = False
    before, after = before * valid[:, None], after * valid[:, None]
    laid = overlay((before, after), valid)
    assert laid is not None
    agreement = laid.agreement()
    first, second = local_structure(before, valid)[0], local_structure(after, valid)[0]
    reach = agreement.explained.shape[0] // 2
    for down, right in ((0, 0), (-2, 1), (5, -7), (reach, -reach)):
        rows = slice(max(down, 0), 96 + min(down, 0)), slice(max(-down, 0), 96 + min(-down, 0))
        cols = slice(max(right, 0), 96 + min(right, 0)), slice(max(-right, 0), 96 + min(-right, 0))
        there, here = (rows[0], cols[0]), (rows[1], cols[1])
        both = valid[0][there] & valid[0][here]
        covariance = (
            np.stack([[(b[here] * a[there])[both].sum() for a in second] for b in first])
            / both.sum()
        )
        expected = (covariance**2).sum() / len(first)
        assert agreement.explained[reach + down, reach + right] == pytest.approx(
            expected, rel=1e-3, abs=1e-6
        )


def test_features_are_white_and_empty_where_there_is_nothing() -> None:
    data = windows(ground(3, 5, 272))
    valid = np.ones((4, 96, 96), bool)
    valid[1, :50] = False
    features = local_structure(data * valid[:, None], valid)
    pixels = features.transpose(1, 0, 2, 3)[:, valid]
    assert np.abs(np.cov(pixels) - np.eye(len(pixels))).max() < 1e-3
    assert not features.transpose(0, 2, 3, 1)[~valid].any()


def test_a_uniform_date_has_no_structure() -> None:
    flat = np.zeros((1, 3, 96, 96), np.float32)
    other = texture(0, 3, 96, 96)[None] / 1000
    assert overlay((flat, other), np.ones((1, 96, 96), bool)) is None


def test_measurements_survive_json() -> None:
    measured = found(*off((1.0, 1.0)))
    assert Misregistration.from_json(measured.to_json()) == measured
    assert measured.to_json()["applied"] is True


def test_reach_of_small_windows() -> None:
    """No displacement is asked for that leaves less than two thirds of a window."""
    data = ground(0, 2, 300)
    for size, reach in ((30, 10), (60, 20), (120, REACH)):
        one = windows(data, 1, size)
        laid = overlay((one, one), np.ones((1, size, size), bool))
        assert laid is not None
        assert laid.reach == reach
