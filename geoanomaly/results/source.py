"""One result with all that an export of it may show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from geoanomaly.jobs import Judgement
from geoanomaly.results.pictures import Backdrop
from geoanomaly.results.regions import Hot, Region


@dataclass(frozen=True)
class Source:
    """What is exported.

    threshold: in surprise; crs: of what is written, None = the heatmap's own.
    ready: files of `exports.NAMES` that the run published just so. companions: files that go into
        the archive as they are.
    basis, doubts: our own words on what the values rest on. dates: of the scenes.
    """

    heatmap: Path
    hot: Hot
    regions: Sequence[Region]
    judgements: Mapping[str, Judgement]
    backdrops: Sequence[Backdrop]
    threshold: float
    crs: str | None = None
    ready: Mapping[str, Path] = field(default_factory=dict)
    companions: Sequence[Path] = ()
    basis: str = ""
    doubts: Sequence[str] = ()
    dates: Sequence[str] = ()
