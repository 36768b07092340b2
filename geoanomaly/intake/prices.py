"""Prices asked for a moment ago: a page asks before it submits, and clients repeat themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from geoanomaly.intake.check import MAX_SEED, check
from geoanomaly.models import CARD
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Price, Scene

KEPT = 1024


def price(spec: JobSpec, settings: Settings) -> Price:
    """`intake.check`, or what it said of the same request while no file of it has changed."""
    return _answer(_Question(_words(spec, settings), spec, settings))


@dataclass(frozen=True)
class _Question:
    """words: all that the answer depends on."""

    words: str
    spec: JobSpec = field(compare=False)
    settings: Settings = field(compare=False)


@lru_cache(maxsize=KEPT)
def _answer(question: _Question) -> Price:
    return check(question.spec, question.settings)


def _words(spec: JobSpec, settings: Settings) -> str:
    limits = (settings.max_pixels, settings.tile_size, settings.tenant)
    # Many requests differ in nothing but the seed, on which no price depends if it is one.
    asked = {**spec.to_json(), "seed": 0 <= spec.seed <= MAX_SEED}
    return json.dumps([asked, limits, *map(_stamp, _files(spec, settings))])


def _files(spec: JobSpec, settings: Settings) -> Iterator[Path]:
    scenes: tuple[Scene, ...] = (*spec.scenes, *spec.history)
    for scene in scenes:
        yield Path(scene.href)
        if scene.mask is not None:
            yield Path(scene.mask.href)
    if spec.model is not None:
        yield settings.models_dir / spec.model / CARD


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None  # `check` says what is wrong with it.
    return found.st_ino, found.st_size, found.st_mtime_ns
