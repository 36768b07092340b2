"""Strip by strip or at once: the same rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geoanomaly import context
from geoanomaly.detectors.rows import CHUNK, STRIP, by_chunks, by_strips, rows


@given(
    number=st.integers(1, 3),
    height=st.integers(1, 3 * STRIP),
    width=st.integers(1, 9),
    margin=st.integers(0, 3),
)
def test_strips_see_what_lies_around_them(
    number: int, height: int, width: int, margin: int
) -> None:
    shape = (number, height + 2 * margin, width + 2 * margin)
    valid = torch.rand(shape, generator=torch.Generator().manual_seed(height)) > 0.3
    data = torch.arange(2 * valid.numel(), dtype=torch.float64).view(number, 2, *shape[1:])

    def summed(data: Tensor, valid: Tensor) -> Tensor:
        """Of a square around each inner pixel, less where it is not valid."""
        seen = data * valid[:, None]
        squares = seen.unfold(2, 2 * margin + 1, 1).unfold(3, 2 * margin + 1, 1)
        return rows(squares.sum((-2, -1)))

    whole = summed(data, valid)
    assert whole.shape == (number * height * width, 2)
    assert torch.equal(by_strips(summed, margin, data, valid), whole)
    assert torch.equal(
        by_strips(lambda *parts: summed(*parts)[:, 0], margin, data, valid), whole[:, 0]
    )


def test_context_is_the_same_in_strips() -> None:
    margin = context.RADIUS
    data = torch.randn(1, 3, 2 * STRIP + 5 + 2 * margin, 20 + 2 * margin)
    valid = torch.rand(1, *data.shape[2:]) > 0.1

    def described(data: Tensor, valid: Tensor) -> Tensor:
        return rows(context.features(data, valid, margin))

    found, whole = by_strips(described, margin, data, valid), described(data, valid)
    assert torch.allclose(found, whole, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_chunks_leave_nothing_out(count: int) -> None:
    one, other = torch.randn(count, 2), torch.randn(count, 3)
    found = by_chunks(lambda a, b: a.sum(1) * b.prod(1), one, other)
    assert torch.equal(found, one.sum(1) * other.prod(1))
