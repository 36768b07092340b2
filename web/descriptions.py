"""What each process is: its inputs and outputs with JSON schemas, as OGC wants them told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoanomaly import __version__
from geoanomaly.detectors import detectors_for
from geoanomaly.scenes.sensors import SENSORS
from geoanomaly.types import IGNORABLE, Process

SCENE_SCHEMA: Mapping[str, Any] = {
    "oneOf": [
        {"type": "string", "description": "A scene id of /scenes."},
        {
            "type": "object",
            "required": ["href"],
            "properties": {
                "href": {
                    "type": "string",
                    "description": "Absolute path on the server, or an https:// address of a "
                    "GeoTIFF or STAC item on a host that the service may ask.",
                },
                "asset": {"type": "string", "description": "Of the STAC item at href."},
            },
        },
    ]
}
AREA_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["type"],
    "format": "geojson-geometry",
    "description": "Polygon, MultiPolygon, or a Feature or FeatureCollection of them.",
}


def _input(
    title: str, description: str, schema: Mapping[str, Any], *, required: bool = False
) -> dict[str, Any]:
    low = 1 if required else 0
    return {
        "title": title, "description": description, "schema": dict(schema),
        "minOccurs": low, "maxOccurs": 1,
    }  # fmt: skip


def _scene(title: str, description: str) -> dict[str, Any]:
    return _input(title, description, SCENE_SCHEMA, required=True)


_AREA = {
    "aoi": _input("Area", "Clips the job and its output.", AREA_SCHEMA),
    "aoi_crs": _input(
        "CRS of the area", "When it is not WGS 84.", {"type": "string", "default": "EPSG:4326"}
    ),
    "repair": _input(
        "Repair",
        "Make an area valid whose outline crosses itself; the change of its size is reported.",
        {"type": "boolean", "default": False},
    ),
    "sensor": _input(
        "Sensor",
        "Of scenes that do not say theirs; without it, guessed from the file and reported.",
        {"type": "string", "enum": list(SENSORS)},
    ),
}


def _detector(process: Process) -> dict[str, Any]:
    """The input that chooses among the detectors of a process."""
    names = [entry.name for entry in detectors_for(process)]
    schema = {"type": "string", "enum": names, "default": names[0]}
    return {"detector": _input("Detector", "Method.", schema)}


_RUN = {
    "false_alarm_rate": _input(
        "False-alarm rate",
        "Expected share of normal pixels above the threshold of mask and polygons.",
        {"type": "number", "minimum": 1e-6, "maximum": 0.5, "default": 0.01},
    ),
}
_MASK = {
    "mask": _input(
        "Mask",
        "What to leave out of the scene: a raster where not 0 means so, or one whose band or name "
        "says SCL or QA_PIXEL, or polygons. Such bands of the scene itself are read anyway.",
        SCENE_SCHEMA,
    ),
    "ignore": _input(
        "Ignore",
        "Ground to leave out. Water: where every date shows open water.",
        {"type": "array", "items": {"type": "string", "enum": list(IGNORABLE)}},
    ),
}
_PAIR = {
    "history": {
        **_input(
            "History",
            "Earlier scenes of the place, at least two, in any order: they tell what change is "
            "normal there, and calibrate the heatmap.",
            SCENE_SCHEMA,
        ),
        "maxOccurs": "unbounded",
    },
    "before_mask": _input(
        "Mask of the before scene", "What to leave out of the before scene.", SCENE_SCHEMA
    ),
    "anyway": _input(
        "Anyway",
        "Make the map also of dates that cannot be compared, marked doubtful.",
        {"type": "boolean", "default": False},
    ),
}
_WORK = {
    "tile_size": _input(
        "Tile size",
        "Core of a tile in pixels, a multiple of 32; the result does not depend on it.",
        {"type": "integer", "minimum": 32, "maximum": 4096, "multipleOf": 32},
    ),
    "seed": _input(
        "Seed", "Equal seeds give equal results.", {"type": "integer", "minimum": 0, "default": 0}
    ),
}
_EXCLUDE = {
    "exclude": _input("Exclude", "Polygons (WGS 84) to leave out of training.", AREA_SCHEMA)
}

_INPUTS: Mapping[Process, Mapping[str, Any]] = {
    Process.DETECT_CHANGE: {
        "before": _scene("Before", "The earlier scene."),
        "after": _scene("After", "The later scene; the heatmap has its grid."),
        **_AREA, **_detector(Process.DETECT_CHANGE), **_RUN, **_MASK, **_PAIR,
        **_EXCLUDE, **_WORK,
    },
    Process.DETECT_ANOMALY: {
        "scene": _scene("Scene", "The scene to look at; the heatmap has its grid."),
        **_AREA, **_detector(Process.DETECT_ANOMALY), **_RUN, **_MASK,
        "model": _input(
            "Model", "Name of a trained model; without it one is fitted to the scene.",
            {"type": "string"},
        ),
        **_EXCLUDE, **_WORK,
    },
    Process.TRAIN_MODEL: {
        "scenes": {
            **_scene("Scenes", "Normal ground, one scene or more."), "maxOccurs": "unbounded",
        },
        "name": _input(
            "Name", "Of the model.",
            {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}, required=True,
        ),
        **_AREA, **_EXCLUDE, **_detector(Process.TRAIN_MODEL), **_WORK,
    },
}  # fmt: skip

_TEXTS: Mapping[Process, tuple[str, str]] = {
    Process.DETECT_CHANGE: (
        "Detect change",
        "What changed between two scenes in a way that normal change does not explain.",
    ),
    Process.DETECT_ANOMALY: ("Detect anomalies", "What looks unusual in one scene."),
    Process.TRAIN_MODEL: ("Train a model", "Learns from scenes what normal ground looks like."),
}


def _file(title: str, media: str) -> dict[str, Any]:
    binary = {"type": "string", "contentEncoding": "binary", "contentMediaType": media}
    return {"title": title, "schema": binary}


_TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
_DETECTION_OUTPUTS = {
    "heatmap": _file("Surprise: -log10 of the share of normal pixels that score as high", _TIFF),
    "mask": _file("Pixels above the threshold", _TIFF),
    "anomalies": _file("Polygons with their evidence", "application/geo+json"),
    "run": _file("Inputs, model, parameters and timings", "application/json"),
}
_OUTPUTS: Mapping[Process, Mapping[str, Any]] = {
    Process.DETECT_CHANGE: _DETECTION_OUTPUTS,
    Process.DETECT_ANOMALY: _DETECTION_OUTPUTS,
    Process.TRAIN_MODEL: {
        "model": _file("What the model is: bands, sensor, calibration", "application/json")
    },
}


def input_names(process: Process) -> tuple[str, ...]:
    return tuple(_INPUTS[process])


def summary(process: Process) -> dict[str, Any]:
    """A process as the list has it, without links."""
    title, text = _TEXTS[process]
    return {
        "id": process.value,
        "title": title,
        "description": text,
        "version": __version__,
        "jobControlOptions": ["async-execute", "dismiss"],
        "outputTransmission": ["reference"],
    }


def description(process: Process) -> dict[str, Any]:
    """A process in full, without links."""
    return {**summary(process), "inputs": _INPUTS[process], "outputs": _OUTPUTS[process]}
