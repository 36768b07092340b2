"""Variants of the default detectors with a part taken away or replaced, for the tables only.

To add one, write a function that returns a `DetectorFamily` and list it:

    Ablation("cvae-no-context", "without context features", _CHANGE, no_context)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from geoanomaly import detectors
from geoanomaly.detectors import Entry
from geoanomaly.types import Process

if TYPE_CHECKING:
    from geoanomaly.detectors.base import DetectorFamily


@dataclass(frozen=True)
class Ablation:
    """title: what is different; process: whose default it is a variant of."""

    name: str
    title: str
    process: Process
    family: Callable[[], DetectorFamily]


def _fused(**changes: Any) -> Callable[[], DetectorFamily]:
    """The default for change with other fields."""

    def make() -> DetectorFamily:
        from geoanomaly.detectors.fused_change import FUSED_CHANGE  # torch

        return replace(FUSED_CHANGE, **changes)

    return make


def _coarse_always() -> DetectorFamily:
    from geoanomaly.detectors.fused_change import FUSED_CHANGE, SCALES

    return replace(FUSED_CHANGE, scales=(replace(SCALES[0], needed=0.0),))


_CHANGE = Process.DETECT_CHANGE

ABLATIONS: tuple[Ablation, ...] = (
    Ablation("auto-linear", "linear relation without the network", _CHANGE, _fused(network=False)),
    Ablation("auto-pixels", "without pretrained features", _CHANGE, _fused(scales=())),
    Ablation("auto-coarse", "coarse features whether confirmed or not", _CHANGE, _coarse_always),
    Ablation("auto-related", "the relation trusted always", _CHANGE, _fused(related=0.0)),
)


def names() -> set[str]:
    return {each.name for each in ABLATIONS}


@dataclass(frozen=True)
class _Variant(Entry):
    """An ablation as the pipeline wants it."""

    make: Callable[[], DetectorFamily]

    def family(self) -> DetectorFamily:
        return self.make()


@contextmanager
def registered() -> Iterator[None]:
    """Within, the ablations can be asked for by name like any detector."""
    known = detectors.DETECTORS
    variants = (
        _Variant(each.name, each.title, "", (each.process,), each.family) for each in ABLATIONS
    )
    detectors.DETECTORS = (*known, *variants)
    try:
        yield
    finally:
        detectors.DETECTORS = known
