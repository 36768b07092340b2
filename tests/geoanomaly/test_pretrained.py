"""The pretrained network: positions are exact, its reach is what it says, its weights are known."""

from __future__ import annotations

import pytest
import torch

from geoanomaly import pretrained
from geoanomaly.pretrained import DEEP, SHALLOW, Trunk

BOTH = pytest.mark.parametrize("blocks", [SHALLOW, DEEP])


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    return torch.randn(1, 3, 208, 224, generator=torch.Generator().manual_seed(0))


@BOTH
@torch.inference_mode()
def test_a_pixel_reaches_no_further_than_is_said(blocks: int, photograph: torch.Tensor) -> None:
    trunk = Trunk.load(blocks, pretrained.weights())
    other = photograph.clone()
    other[:, :, 100, 111] += 5
    changed = (trunk(other) - trunk(photograph)).abs().sum(1)[0].nonzero()
    distance = (changed - torch.tensor([100, 111])).abs().max()
    assert distance <= pretrained.reach(blocks)
    assert distance > pretrained.reach(blocks) / 2, "or the halo would be wastefully wide"


@BOTH
@torch.inference_mode()
def test_a_window_in_phase_sees_the_same_features(blocks: int, photograph: torch.Tensor) -> None:
    trunk, margin = Trunk.load(blocks, pretrained.weights()), pretrained.reach(blocks)
    whole = trunk(photograph)
    window = trunk(photograph[:, :, 32:200, 48:215])
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    expected = whole[:, :, 32:200, 48:215][inner]
    assert expected.numel()
    torch.testing.assert_close(window[inner], expected, atol=1e-5, rtol=1e-5)


@BOTH
@torch.inference_mode()
def test_features_stand_where_the_pixels_are(blocks: int) -> None:
    """The responses to bright spots are centred on them, wherever they lie in a stride."""
    trunk = Trunk.load(blocks, pretrained.weights())
    ground = torch.zeros(1, 3, 224, 224)
    rows = torch.arange(224.0)
    away = []
    for at in range(112, 112 + pretrained.stride(blocks)):
        spot = ground.clone()
        spot[:, :, at - 4 : at + 5, at - 4 : at + 5] = 3.0
        response = (trunk(spot) - trunk(ground)).square().sum(1)[0]
        away += [float((response.sum(axis) * rows).sum() / response.sum() - at) for axis in (0, 1)]
    assert abs(sum(away) / len(away)) < 0.5


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "DIGEST", "0" * 64)
    pretrained.weights.cache_clear()
    with pytest.raises(pretrained.DamagedWeightsError, match=r"sha256 5793.*0000 was expected"):
        pretrained.weights()
