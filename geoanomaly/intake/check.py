"""A request is checked and priced before it is accepted. The web process calls this: no torch."""

from __future__ import annotations

import math
import re

from rasterio.errors import RasterioError

from geoanomaly.detectors import detector_named, detectors_for
from geoanomaly.errors import ParameterError, SceneError
from geoanomaly.models import ModelCard, read_card
from geoanomaly.scenes.areas import check_area
from geoanomaly.scenes.inputs import FIELDS, Inputs, open_inputs, open_normal, require_valid
from geoanomaly.scenes.sensors import sensor_named
from geoanomaly.scenes.timeline import HISTORY, MIN_HISTORY
from geoanomaly.settings import Settings
from geoanomaly.types import IGNORABLE, JobSpec, Price, Process, Scene

TILE_SIZES = (32, 4096)
TILE_STEP = 32  # tiles begin where the strides of the networks do
MAX_SEED = 2**63 - 1  # what torch's generators take
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check(spec: JobSpec, settings: Settings) -> Price:
    """What the job will cost; InputError or NotFoundError when it cannot be done.

    Reads metadata and as many pixels as it takes to see that there are some.
    """
    _check_parameters(spec)
    inputs, fields = _open_all(spec, settings)
    height, width = inputs[-1].geobox.shape
    pixels = sum(int(math.prod(each.geobox.shape)) for each in inputs)
    if pixels > settings.max_pixels:
        raise ParameterError(
            f"The job covers {pixels:,} pixels, the limit is {settings.max_pixels:,} "
            "(GEOANOMALY_MAX_PIXELS). Give a smaller area.",
            field="aoi",
        )
    for opened in inputs:
        _require_valid(opened, fields)
        for earlier in opened.history:
            _require_valid(earlier, ("history",))
    areas = [area.note for area in (spec.aoi, spec.exclude) if area and area.note]
    notes = (*areas, *(note for each in inputs for note in each.notes))
    tiles = len(inputs[-1].tiles(spec.tile_size or settings.tile_size, 0))
    return Price(pixels, tiles, (height, width), inputs[-1].scenes[-1].sensor.name, notes)


def _open_all(spec: JobSpec, settings: Settings) -> tuple[list[Inputs], tuple[str, ...]]:
    """What the job reads, and the fields of the scenes of each."""
    if spec.process is Process.TRAIN_MODEL:
        return [_open_training(spec, scene) for scene in spec.scenes], ("scenes",)
    inputs = open_inputs(spec)
    if spec.model is not None:
        check_model_fits(read_card(settings.models_dir, spec.model), inputs)
    return [inputs], FIELDS[spec.process]


def _open_training(spec: JobSpec, scene: Scene) -> Inputs:
    inputs = open_normal(scene, spec.sensor, spec.aoi)
    if spec.exclude is not None and inputs.geobox.crs is None:
        raise SceneError(
            f"{scene.href} has no CRS, so polygons cannot be left out of it. Assign one "
            "(gdal_edit.py -a_srs EPSG:...) or leave out the polygons.",
            field="scenes",
        )
    return inputs


def _require_valid(inputs: Inputs, fields: tuple[str, ...]) -> None:
    try:
        require_valid(inputs, fields)
    except RasterioError as error:
        names = " or ".join(info.scene.href for info in inputs.scenes)
        raise SceneError(f"{names} cannot be read: {error}.", field=fields[-1]) from None


def _check_parameters(spec: JobSpec) -> None:
    for area, field in ((spec.aoi, "aoi"), (spec.exclude, "exclude")):
        if area is not None:
            check_area(area, field=field)
    if spec.sensor is not None:
        sensor_named(spec.sensor)
    _check_count(spec)
    _check_history(spec)
    _check_detector(spec)
    if not 1e-6 <= spec.false_alarm_rate <= 0.5:
        raise ParameterError(
            f"The false-alarm rate is {spec.false_alarm_rate:g}, it must lie in 1e-6 to 0.5 "
            "(0.01 = one normal pixel in a hundred).",
            field="false_alarm_rate",
        )
    low, high = TILE_SIZES
    size = spec.tile_size
    if size is not None and (not low <= size <= high or size % TILE_STEP):
        raise ParameterError(
            f"The tile size is {size}, it must be a multiple of {TILE_STEP} in {low} to {high} "
            "pixels.",
            field="tile_size",
        )
    for name in spec.ignore:
        if name not in IGNORABLE:
            raise ParameterError(
                f"{name!r} cannot be ignored by name, only {', '.join(IGNORABLE)}. Give anything "
                "else as a mask.",
                field="ignore",
            )
    if not 0 <= spec.seed <= MAX_SEED:
        raise ParameterError(
            f"The seed is {spec.seed}, it must lie in 0 to {MAX_SEED}.", field="seed"
        )


def _check_count(spec: JobSpec) -> None:
    if spec.process is Process.TRAIN_MODEL:
        if not spec.scenes:
            raise ParameterError("Training needs at least one scene.", field="scenes")
        if not MODEL_NAME.fullmatch(spec.name or ""):
            raise ParameterError(
                f"{spec.name!r} is no model name: letters, digits, '.', '_' and '-', "
                "64 at most, beginning with a letter or digit.",
                field="name",
            )
        return
    fields = FIELDS[spec.process]
    if len(spec.scenes) != len(fields):
        raise ParameterError(
            f"{spec.process} takes {' and '.join(fields)}, {len(spec.scenes)} scenes were given.",
            field=fields[-1],
        )


def _check_history(spec: JobSpec) -> None:
    if spec.history and spec.process is not Process.DETECT_CHANGE:
        raise ParameterError(
            "A history tells what change is normal: give a before scene too, or leave it out.",
            field="history",
        )
    needed = spec.detector == HISTORY
    if (spec.history or needed) and len(spec.history) < MIN_HISTORY:
        count = len(spec.history)
        raise ParameterError(
            f"{'Detector history' if needed else 'A history'} needs at least {MIN_HISTORY} earlier "
            f"scenes of the place beside the before scene, {count} {_were(count)} given.",
            field="history",
        )


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _check_detector(spec: JobSpec) -> None:
    if spec.model is not None and spec.process is not Process.DETECT_ANOMALY:
        raise ParameterError(
            "A trained model scores a single scene: use detect-anomaly, or leave the model out.",
            field="model",
        )
    if spec.detector is None:
        return
    known = detectors_for(spec.process)
    if detector_named(spec.detector) not in known:
        names = ", ".join(entry.name for entry in known)
        raise ParameterError(
            f"{spec.detector!r} does not serve {spec.process}. Choose from: {names}.",
            field="detector",
        )


def check_model_fits(card: ModelCard, inputs: Inputs) -> None:
    """SceneError unless the scene has the bands and the sensor that the model was trained on."""
    info = inputs.scenes[-1]
    if len(info.band_names) != len(card.bands):
        raise SceneError(
            f"{info.scene.href} has {len(info.band_names)} bands ({' '.join(info.band_names)}), "
            f"model {card.name!r} was trained on {len(card.bands)} ({' '.join(card.bands)}). "
            "Choose another model, or train one on such scenes.",
            field="scene",
        )
    if info.sensor.name != card.sensor:
        raise SceneError(
            f"{info.scene.href} is taken as {info.sensor.name}, model {card.name!r} was trained on "
            f"{card.sensor}. If the scene is of that sensor, say so with the sensor option.",
            field="sensor",
        )
