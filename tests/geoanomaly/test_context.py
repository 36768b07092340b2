"""What surrounds a pixel: against SciPy and a plain loop, and how far it reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geoanomaly.context import PER_BAND, RADIUS, SCALES, TRUNCATE, blur, features, radius

Array = NDArray[np.float64]


def blurred(data: Array, valid: NDArray[np.bool_], sigma: float) -> Array:
    """One band, (y, x), through the code under test."""
    found = blur(torch.from_numpy(data)[None, None], torch.from_numpy(valid)[None], sigma)
    return found[0, 0].numpy()


def looped(data: Array, valid: NDArray[np.bool_], sigma: float) -> Array:
    """Normalised convolution as its definition says it, pixel by pixel."""
    reach = math.ceil(TRUNCATE * sigma)
    out = np.zeros_like(data)
    for row, col in np.ndindex(data.shape):
        total = weights = 0.0
        for y in range(max(row - reach, 0), min(row + reach + 1, data.shape[0])):
            for x in range(max(col - reach, 0), min(col + reach + 1, data.shape[1])):
                if valid[y, x]:
                    weight = math.exp(-((y - row) ** 2 + (x - col) ** 2) / (2 * sigma**2))
                    total += weight * data[y, x]
                    weights += weight
        out[row, col] = total / weights if weights else 0.0
    return out


@pytest.mark.parametrize("sigma", [0.7, *SCALES])
def test_blur_is_scipys_where_all_is_valid(sigma: float) -> None:
    data = np.random.default_rng(0).normal(5, 1, (80, 90))
    reach = radius(sigma)
    wanted = gaussian_filter(data, sigma, radius=reach)
    inner = np.s_[reach:-reach, reach:-reach]
    assert np.allclose(blurred(data, np.ones(data.shape, bool), sigma)[inner], wanted[inner])


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), share=st.floats(0.1, 1), sigma=st.sampled_from([0.7, 1.0, 2.0]))
def test_blur_is_a_normalised_convolution(seed: int, share: float, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(5, 1, (9, 12))
    valid = rng.random(data.shape) < share
    found, wanted = blurred(data, valid, sigma), looped(data, valid, sigma)
    # Weights under the clamp come from the far corners of the kernel alone.
    near = looped(valid.astype(float), np.ones_like(valid), sigma) > 1e-4
    assert np.allclose(found[near], wanted[near], rtol=1e-9)


def test_a_constant_stays_constant_beside_nodata_and_edges() -> None:
    valid = np.random.default_rng(1).random((40, 40)) < 0.5
    for sigma in SCALES:
        assert np.allclose(blurred(np.full((40, 40), 7.0), valid, sigma), 7)


def test_nothing_is_seen_where_nothing_is_valid() -> None:
    assert not blurred(np.full((20, 20), 7.0), np.zeros((20, 20), bool), 1.0).any()


def test_bands_and_scenes_stay_apart() -> None:
    data = torch.randn(2, 3, 30, 30, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(2, 30, 30, dtype=torch.bool)
    together = blur(data, valid, 2.0)
    for n in range(2):
        for band in range(3):
            alone = blur(data[n : n + 1, band : band + 1], valid[n : n + 1], 2.0)
            assert torch.allclose(together[n, band], alone[0, 0], atol=1e-6)


@settings(max_examples=15)
@given(
    row=st.integers(0, 49),
    col=st.integers(0, 49),
    invalid=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_pixel_changes_nothing_beyond_the_radius(
    row: int, col: int, invalid: bool, seed: int
) -> None:
    data = torch.randn(1, 2, 50, 50, generator=torch.Generator().manual_seed(seed))
    valid = torch.ones(1, 50, 50, dtype=torch.bool)
    other, fewer = data.clone(), valid.clone()
    other[:, :, row, col] += 1000
    fewer[:, row, col] = not invalid
    changed = (features(data, valid) != features(other, fewer)).any(dim=1)[0].numpy()
    rows, cols = np.indices((50, 50))
    far = np.maximum(abs(rows - row), abs(cols - col))
    assert not changed[far > RADIUS].any()
    assert changed[far <= 1].all()


def test_the_radius_is_no_larger_than_it_must_be() -> None:
    """Else every tile would read a halo for nothing."""
    data = torch.zeros(1, 1, 50, 50)
    valid = torch.ones(1, 50, 50, dtype=torch.bool)
    other = data.clone()
    other[0, 0, 25, 25] = 1e6
    changed = (features(data, valid) != features(other, valid)).any(dim=1)[0]
    assert changed[25, 25 + RADIUS]


def test_invalid_numbers_have_no_influence() -> None:
    data = torch.randn(1, 2, 50, 50, generator=torch.Generator().manual_seed(3))
    valid = torch.rand(1, 50, 50, generator=torch.Generator().manual_seed(4)) < 0.7
    other = torch.where(valid[:, None], data, torch.tensor(1e6))
    here = valid[:, None].expand(1, 2 * PER_BAND, 50, 50)
    assert torch.equal(features(data, valid)[here], features(other, valid)[here])


@settings(max_examples=15, deadline=None)
@given(margin=st.integers(0, 2 * RADIUS), share=st.floats(0.1, 1), seed=st.integers(0, 1000))
def test_features_less_a_margin_are_the_same(margin: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn(1, 3, 70, 75, generator=generator)
    valid = torch.rand(1, 70, 75, generator=generator) < share
    wanted = features(data, valid)[..., margin : 70 - margin, margin : 75 - margin]
    assert torch.allclose(features(data, valid, margin), wanted, atol=1e-5)


def test_the_features_are_what_they_say() -> None:
    data = np.random.default_rng(5).normal(0, 2, (1, 1, 80, 80))
    valid = torch.ones(1, 80, 80, dtype=torch.bool)
    found = features(torch.from_numpy(data), valid)[0].numpy()
    assert found.shape == (PER_BAND, 80, 80)
    ground = data[0, 0]
    fine, middle, coarse = (gaussian_filter(ground, s, radius=radius(s)) for s in SCALES)
    spread = [
        np.log(np.sqrt(gaussian_filter(ground**2, s, radius=radius(s)) - mean**2))
        for s, mean in ((1.0, fine), (3.0, gaussian_filter(ground, 3.0, radius=radius(3.0))))
    ]
    wanted = np.stack([ground, fine - middle, middle - coarse, coarse, *spread])
    inner = np.s_[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    assert np.allclose(found[inner], wanted[inner], atol=1e-8)
