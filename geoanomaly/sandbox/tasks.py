"""What a child may be asked to do. Imported by the template, so that a child need not wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoanomaly.cleaning import Raw, examine, rewrite
from geoanomaly.intake import check as check_spec
from geoanomaly.sandbox.template import Tell
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec


def look(arguments: dict[str, Any], _: Tell) -> dict[str, Any]:
    """Is it a raster that may be taken in? The answer is its size."""
    return vars(examine(_raw(arguments), arguments["max_pixels"]))


def clean(arguments: dict[str, Any], tell: Tell) -> None:
    """Write it anew, as `clean.tif` in a folder that holds nothing else."""
    rewrite(_raw(arguments), Path(arguments["folder"]), tell)


def check(arguments: dict[str, Any], _: Tell) -> dict[str, Any]:
    """Price a request that names files which nobody has taken in yet."""
    settings = Settings.model_validate(arguments["settings"])
    for each in arguments["rasters"]:
        examine(_raw(each), settings.max_pixels)
    return vars(check_spec(JobSpec.from_json(arguments["spec"]), settings))


def _raw(arguments: dict[str, Any]) -> Raw:
    path, name = Path(arguments["path"]), str(arguments["name"])
    return Raw(path, name, arguments["drivers"], str(arguments["field"]))
