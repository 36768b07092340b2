"""Whether two dates can be compared at all, measured before anything is fitted to them.

Asked are the share of pixels that both dates have, how much of their structure the
dates have in common, against what chance gives at other places
(`geoanomaly.pairs.structure`), and by how much one lies off the other
(`geoanomaly.pairs.registration`). Costs a few seconds whatever the size of the scenes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoanomaly.errors import IncomparableError
from geoanomaly.normalise import fit_normaliser
from geoanomaly.pairs.registration import MIN_CONSENSUS, Misregistration, register
from geoanomaly.pairs.structure import REACH, Array, Shift, overlay
from geoanomaly.scenes.inputs import Inputs
from geoanomaly.scenes.sampling import WINDOW, Sample, shuffled, stack
from tiling.types import TileBatch

MAX_WINDOWS = 24
MAX_BYTES = 96 * 2**20
LOOKS = 4
"""Windows that are looked at for one that is kept, at most."""

MIN_FILLED = 0.2
"""Share of a window that must be valid for its structure to be compared."""

INCOMPARABLE_VALID, DOUBTFUL_VALID = 0.05, 0.20
"""Share of the area's pixels that are valid at both dates."""

INCOMPARABLE_RATIO, DOUBTFUL_RATIO = 1.0, 2.0
"""Structure in common, as a multiple of the most that chance gives. Different places reach .9,
pairs of one place 3.5 to 100, other sensors and decades between them included."""

MIN_WINDOWS = 4
"""Fewer say nothing of how many agree."""

MIN_PIXELS = 8_000
"""Fewer cannot tell no relation from a weak one: then nothing is refused for lack of one."""

FAR = 1.0
"""Pixels of shift that raise doubt where they could not be mended."""


class Verdict(StrEnum):
    """From good to bad."""

    COMPARABLE = "comparable"
    DOUBTFUL = "doubtful"
    INCOMPARABLE = "incomparable"


@dataclass(frozen=True)
class Evidence:
    """What was measured.

    valid_share: of the area's pixels, valid at both dates, in the windows looked at.
    pixels: valid ones that were compared.
    explained: mean squared canonical correlation of the dates' local structure; chance:
        the most of it that other places and displacements give. None where one date has
        no structure.
    """

    valid_share: float
    pixels: int
    explained: float | None = None
    chance: float | None = None
    misregistration: Misregistration | None = None

    @property
    def moved(self) -> Shift:
        """(rows, columns) by which the before scene has to be moved down and right."""
        found = self.misregistration
        return found.shift if found is not None and found.confirmed else (0.0, 0.0)


@dataclass(frozen=True)
class Comparability:
    """The verdict on two dates; reasons: sentences on why it is not better."""

    verdict: Verdict
    reasons: tuple[str, ...]
    evidence: Evidence

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done about it, for the user."""
        if self.evidence.moved == (0.0, 0.0):
            return ()
        down, right = self.evidence.moved
        return (
            f"The before scene lay off the after scene: it was moved by {down:+.2f} pixels down "
            f"and {right:+.2f} right.",
        )

    def to_json(self) -> dict[str, Any]:
        """What `run.json` says; `from_json` restores an equal value."""
        seen = self.evidence
        explained = None
        if seen.explained is not None and seen.chance is not None:
            ratio = round(seen.explained / seen.chance, 2)
            explained = {"share": seen.explained, "by_chance": seen.chance, "ratio": ratio}
        return {
            "verdict": self.verdict.value,
            "reasons": list(self.reasons),
            "valid_share": seen.valid_share,
            "pixels": seen.pixels,
            "explained": explained,
            "shift": seen.misregistration and seen.misregistration.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Comparability:
        explained, shift = data["explained"] or {}, data["shift"]
        evidence = Evidence(
            data["valid_share"],
            data["pixels"],
            explained.get("share"),
            explained.get("by_chance"),
            shift and Misregistration.from_json(shift),
        )
        return cls(Verdict(data["verdict"]), tuple(data["reasons"]), evidence)


def compared(inputs: Inputs, kept: Path, *, seed: int, anyway: bool) -> Comparability:
    """The comparability of two dates, read from the file `kept` where a run has left it there.

    A restarted job then moves the before scene as the first one did. IncomparableError
    unless the dates can be compared, or are to be `anyway`, which makes them doubtful.
    """
    if kept.exists():
        return Comparability.from_json(json.loads(kept.read_text()))
    found = judge(measure(inputs, seed))
    if found.verdict is Verdict.INCOMPARABLE:
        if not anyway:
            raise _error(inputs, found)
        found = Comparability(Verdict.DOUBTFUL, found.reasons, found.evidence)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_name(f".{kept.name}")
    partial.write_text(json.dumps(found.to_json(), indent=1))
    partial.replace(kept)
    return found


def judge(evidence: Evidence) -> Comparability:
    """The worst of all findings counts, the reasons of all are told."""
    findings = list(_findings(evidence))
    order = list(Verdict)
    worst = max((verdict for verdict, _ in findings), key=order.index, default=Verdict.COMPARABLE)
    return Comparability(worst, tuple(text for _, text in findings), evidence)


def _findings(evidence: Evidence) -> Iterator[tuple[Verdict, str]]:
    if evidence.valid_share < DOUBTFUL_VALID:
        few = evidence.valid_share < INCOMPARABLE_VALID
        yield (
            Verdict.INCOMPARABLE if few else Verdict.DOUBTFUL,
            f"{_percent(evidence.valid_share)} of the pixels are valid at both dates, "
            f"{_percent(INCOMPARABLE_VALID if few else DOUBTFUL_VALID)} are wanted.",
        )
    if evidence.explained is None or evidence.chance is None:
        yield Verdict.DOUBTFUL, "One date shows no structure by which to know the place again."
        return
    ratio = evidence.explained / evidence.chance
    if ratio < DOUBTFUL_RATIO:
        yield _of_relation(evidence, ratio)
    if evidence.misregistration is not None:
        yield from _of_shift(evidence.misregistration)


def _of_relation(evidence: Evidence, ratio: float) -> tuple[Verdict, str]:
    common = (
        f"The dates have {_percent(evidence.explained)} of their structure in common, where "
        f"chance gives up to {_percent(evidence.chance)}"
    )
    if ratio < INCOMPARABLE_RATIO:
        refused = evidence.pixels >= MIN_PIXELS
        verdict = Verdict.INCOMPARABLE if refused else Verdict.DOUBTFUL
        return verdict, f"{common}: nothing shows that they are of one place."
    return Verdict.DOUBTFUL, f"{common}; {DOUBTFUL_RATIO:g} times that is wanted."


def _of_shift(found: Misregistration) -> Iterator[tuple[Verdict, str]]:
    if not found.clear:
        return  # and so without a meaning
    if found.windows >= MIN_WINDOWS and found.consensus < MIN_CONSENSUS:
        yield (
            Verdict.DOUBTFUL,
            f"{_percent(found.consensus)} of {found.windows} windows agree on how the dates lie "
            f"on each other, {_percent(MIN_CONSENSUS)} are wanted.",
        )
    elif not found.confirmed and found.pixels >= FAR:
        yield (
            Verdict.DOUBTFUL,
            f"The dates seem to lie {found.pixels:.1f} pixels off each other, but moving one does "
            "not make them agree better, so it was left where it is.",
        )


def _error(inputs: Inputs, found: Comparability) -> IncomparableError:
    before, after = (info.scene.label for info in inputs.scenes)
    return IncomparableError(
        f"{before} and {after} cannot be compared. {' '.join(found.reasons)} Check that both show "
        f"one place within {REACH} pixels, and that little of it is cloud; name cloud masks, or "
        "choose another date or area. With --anyway (anyway: true) the map is made all the "
        "same, marked doubtful.",
        field="before",
    )


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0):.2g} %"


def measure(inputs: Inputs, seed: int) -> Evidence:
    """Look at windows spread over the area; cost does not grow with the scene."""
    sample, valid_share = _survey(inputs, seed)
    valid_share = round(valid_share, 4)
    if not sample.pixels:
        return Evidence(valid_share, 0)
    windows = _normalised(sample, 0, inputs), _normalised(sample, 1, inputs)
    found = overlay(windows, sample.core)
    if found is None:
        return Evidence(valid_share, sample.pixels)
    agreement = found.agreement()
    misregistration = register(found, agreement, windows, sample.core, seed)
    at = misregistration.shift if misregistration.confirmed else (0.0, 0.0)
    explained, chance = round(agreement.here(at), 6), round(agreement.chance(at), 6)
    return Evidence(valid_share, sample.pixels, explained, chance, misregistration)


def _normalised(sample: Sample, scene: int, inputs: Inputs) -> Array:
    batch = sample.batches[scene]
    normalise = fit_normaliser(sample, scene, log=inputs.setting.log[scene])
    return np.asarray(normalise(torch.from_numpy(batch.data)).numpy() * batch.valid[:, None])


def _survey(inputs: Inputs, seed: int) -> tuple[Sample, float]:
    """Windows with enough pixels, and the share of valid pixels in all that were looked at.

    Their core is what both dates have. A small area's windows reach beyond it.
    """
    halo = max(0, (WINDOW - min(inputs.geobox.shape)) // 2)
    each = sum(len(array) for array in inputs.arrays) * (WINDOW + 2 * halo) ** 2 * 4
    count = int(np.clip(MAX_BYTES // each, MIN_WINDOWS, MAX_WINDOWS))
    kept: list[tuple[TileBatch, ...]] = []
    seen = valid = 0
    for tile in islice(shuffled(inputs, halo, seed), LOOKS * count):
        batches, inside = inputs.read(tile), inputs.inside(tile)
        both = _both(batches)[0][tile.inner]
        seen, valid = seen + int(inside.sum()), valid + int((both & inside).sum())
        if both.mean() >= MIN_FILLED:
            kept.append(batches)
        if len(kept) == count:
            break
    return _sample(kept), valid / max(seen, 1)


def _sample(windows: list[tuple[TileBatch, ...]]) -> Sample:
    if not windows:
        return Sample((), np.zeros((0, 0, 0), bool), 0)
    dates = tuple(stack(date) for date in zip(*windows, strict=True))
    return Sample(dates, _both(dates), 0)


def _both(batches: tuple[TileBatch, ...]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_and.reduce([batch.valid for batch in batches]))
