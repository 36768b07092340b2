"""The tasks of a sandbox that reads one raster from end to end, and can do nothing more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from geoanomaly.intake.cleaning import Raw, examine, rewrite


def swallow(arguments: dict[str, Any], tell: Callable[[float], None]) -> None:
    raw = Raw(Path(arguments["path"]), "m.tif", arguments["drivers"])
    examine(raw, 10_000_000)
    rewrite(raw, Path(arguments["folder"]), tell)
