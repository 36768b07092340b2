"""The inputs of an execution request become a `JobSpec`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from shapely.geometry import mapping

from geoanomaly.errors import ParameterError, SceneError, UnknownSceneError
from geoanomaly.intake.sent_areas import sent_area
from geoanomaly.intake.taken import local_mask, local_scene, remote_scene
from geoanomaly.jobs import SceneRecord
from geoanomaly.scenes.inputs import FIELDS, MASK_FIELDS
from geoanomaly.scenes.sensors import sensor_named
from geoanomaly.settings import Settings
from geoanomaly.types import AOI, JobSpec, Process, Scene
from web.descriptions import input_names

WGS84 = "EPSG:4326"

Find = Callable[[str], SceneRecord]
"""A scene by id, or UnknownSceneError."""

Local = Callable[..., Scene]
"""`local_scene` or `local_mask`."""


def job_spec(
    process: Process, inputs: Mapping[str, Any], settings: Settings, find: Find
) -> JobSpec:
    """A complete spec; an InputError names the first input that cannot be read."""
    _refuse_half_characters(inputs)
    _refuse_unknown(process, inputs)
    values = {name: _unqualified(value) for name, value in inputs.items() if value is not None}
    aoi_crs = _text(values, "aoi_crs") or WGS84
    return JobSpec(
        process=process,
        scenes=_scenes(process, values, settings, find),
        aoi=_area(values, "aoi", aoi_crs, settings),
        sensor=known_sensor(_text(values, "sensor")),
        detector=_text(values, "detector"),
        model=_text(values, "model"),
        name=_model_name(process, values),
        exclude=_area(values, "exclude", WGS84, settings),
        false_alarm_rate=_number(values, "false_alarm_rate", 0.01),
        tile_size=_integer(values, "tile_size"),
        seed=_integer(values, "seed") or 0,
        ignore=_names(values, "ignore"),
        anyway=_flag(values, "anyway"),
        history=tuple(_scene(item, "history", settings, find) for item in _history(values)),
    )


def inputs_of(spec: JobSpec, scenes_dir: Path) -> dict[str, Any]:
    """What `job_spec` makes the same spec of: to show a request again, or to change and resend it.

    Empty inputs are left out.
    """
    found: dict[str, Any] = {"history": [_named(scene, scenes_dir) for scene in spec.history]}
    if spec.process is Process.TRAIN_MODEL:
        found["scenes"] = [_named(scene, scenes_dir) for scene in spec.scenes]
    else:
        names = zip(spec.scenes, FIELDS[spec.process], MASK_FIELDS[spec.process], strict=True)
        for scene, field, mask_field in names:
            found[field] = _named(scene, scenes_dir)
            found[mask_field] = scene.mask and _named(scene.mask, scenes_dir)
    for area_field, area in (("aoi", spec.aoi), ("exclude", spec.exclude)):
        found[area_field] = area and mapping(area.geometry)
    if spec.aoi is not None and spec.aoi.crs != WGS84:
        found["aoi_crs"] = spec.aoi.crs
    values = spec.to_json()
    plain = ("sensor", "detector", "model", "name", "false_alarm_rate", "tile_size")
    found |= {name: values[name] for name in (*plain, "seed", "ignore", "anyway")}
    known = input_names(spec.process)
    return {name: value for name, value in found.items() if value and name in known}


def _named(scene: Scene, scenes_dir: Path) -> str | dict[str, str]:
    """An upload by its id, which is the name of its file; any other scene as it was named."""
    if scene.origin is not None:
        return {"href": scene.origin}
    path = Path(scene.href)
    return path.stem if path.parent == scenes_dir else {"href": scene.href}


def _refuse_unknown(process: Process, inputs: Mapping[str, Any]) -> None:
    """A misspelt input must not pass as an absent one."""
    known = input_names(process)
    for name in inputs:
        if name not in known:
            raise ParameterError(
                f"{process.value} has no input {name!r}. It has: {', '.join(known)}.", field=name
            )


def _refuse_half_characters(inputs: Mapping[str, Any]) -> None:
    """JSON can write half of a character, and NUL: neither can be stored, sent or opened."""
    for name, value in inputs.items():
        for text in _texts([name, value]):
            if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
                shown = ascii(name)[1:-1]
                raise ParameterError(f"{shown} has a sign that is no character.", field=shown)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, however deep."""
    rest = [value]
    while rest:
        found = rest.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            rest += [*found, *found.values()]
        elif isinstance(found, list) and not isinstance(found[0] if found else 0, int | float):
            rest += found  # positions are left out: there may be a million of them


def _unqualified(value: Any) -> Any:
    """OGC lets a client wrap a value with its format: {"value": ..., "mediaType": ...}."""
    if isinstance(value, dict) and "value" in value and "type" not in value:
        return value["value"]
    return value


def _scenes(
    process: Process, values: Mapping[str, Any], settings: Settings, find: Find
) -> tuple[Scene, ...]:
    if process is Process.TRAIN_MODEL:
        given = values.get("scenes")
        items = given if isinstance(given, list) else [given]
        if not items or items == [None]:
            raise SceneError("Give one scene or more to train on.", field="scenes")
        return tuple(_scene(item, "scenes", settings, find) for item in items)
    scenes = []
    for field, mask_field in zip(FIELDS[process], MASK_FIELDS[process], strict=True):
        scene = _scene(values.get(field), field, settings, find)
        if mask_field in values:
            mask = _scene(values[mask_field], mask_field, settings, find, local_mask)
            scene = replace(scene, mask=mask)
        scenes.append(scene)
    return tuple(scenes)


def _history(values: Mapping[str, Any]) -> list[Any]:
    """One scene, or a list of them."""
    given = values.get("history", [])
    return given if isinstance(given, list) else [given]


def _scene(
    value: Any, field: str, settings: Settings, find: Find, local: Local = local_scene
) -> Scene:
    if value is None:
        raise SceneError(f"{field!r} is missing: give a scene id or an href.", field=field)
    if isinstance(value, dict) and isinstance(value.get("href"), str):
        href, asset = value["href"], _text(value, "asset")
        if href.startswith("https://") or asset is not None:
            return remote_scene(href, asset, settings, field=field)
        return local(href, settings, field=field)
    if not isinstance(value, str):
        raise SceneError(
            f'{field!r} must be a scene id ("abc123") or {{"href": "/path/scene.tif"}}.',
            field=field,
        )
    try:
        record = find(value)
    except UnknownSceneError as error:
        # Here it is an input that is wrong, not the address of the request.
        raise SceneError(str(error), field=field) from None
    return Scene(str(record.path), sensor=record.sensor, date=record.date, title=record.title)


def _area(values: Mapping[str, Any], field: str, crs: str, settings: Settings) -> AOI | None:
    if (value := values.get(field)) is None:
        return None
    return sent_area(value, crs, settings, field=field, repair=_flag(values, "repair"))


def _text(values: Mapping[str, Any], field: str) -> str | None:
    value = values.get(field)
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise ParameterError(f"{field!r} must be text, not {value!r}.", field=field)
    return value


def _names(values: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """One name, or a list of them."""
    value = values.get(field, [])
    names = value if isinstance(value, list) else [value]
    if not all(isinstance(name, str) for name in names):
        raise ParameterError(f"{field!r} must be a list of names, not {value!r}.", field=field)
    return tuple(names)


def _flag(values: Mapping[str, Any], field: str) -> bool:
    value = values.get(field, False)
    if not isinstance(value, bool):
        raise ParameterError(f"{field} is {value!r}; it must be true or false.", field=field)
    return value


def _model_name(process: Process, values: Mapping[str, Any]) -> str | None:
    name = _text(values, "name")
    if process is Process.TRAIN_MODEL and name is None:
        raise ParameterError("Give the model a name.", field="name")
    return name


def known_sensor(name: str | None) -> str | None:
    """The same name, or ParameterError with those that exist."""
    return None if name is None else sensor_named(name).name


def _number(values: Mapping[str, Any], field: str, default: float) -> float:
    """Ranges are the intake's to check: it does so for every way in."""
    value = values.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ParameterError(f"{field} is {value!r}; it must be a number.", field=field)
    return float(value)


def _integer(values: Mapping[str, Any], field: str) -> int | None:
    if values.get(field) is None:
        return None
    value = _number(values, field, 0.0)
    # JSON has one kind of number: 64.0 is 64.
    if not value.is_integer():
        raise ParameterError(f"{field} is {value:g}; it must be a whole number.", field=field)
    return int(value)
