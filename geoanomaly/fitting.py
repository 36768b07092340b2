"""What a job scores with: a model that is trained for good, named, kept, or fitted on the spot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geoanomaly.calibration import AsScored, Calibration, calibrate, sample_scores
from geoanomaly.detectors import chosen_detector
from geoanomaly.detectors.base import FitOptions
from geoanomaly.errors import SceneError
from geoanomaly.history import calibrated
from geoanomaly.intake.check import check_model_fits
from geoanomaly.models import CARD, WEIGHTS, Model, load_model, make_model, save_model
from geoanomaly.scenes import sampling
from geoanomaly.scenes.inputs import MIN_VALID_PIXELS, Inputs, open_normal
from geoanomaly.scenes.sampling import Sample
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Progress, Report, RunResult, Setting


def train(spec: JobSpec, *, out: Path, report: Report) -> RunResult:
    entry = chosen_detector(spec.process, spec.detector)
    family = entry.family()
    scenes = [open_normal(scene, spec.sensor, spec.aoi) for scene in spec.scenes]
    _require_alike(scenes)
    samples = [
        sampling.draw(
            inputs,
            halo=family.halo(scenes[0].setting),
            seed=spec.seed,
            report=report,
            share=len(scenes),
            exclude=spec.exclude,
        )
        for inputs in scenes
    ]
    sample = sampling.merge([each for each in samples if each.pixels])
    info = scenes[0].scenes[0]
    assert spec.name is not None  # checked at intake
    model = _fit(
        spec,
        sample,
        scenes[0].setting,
        report,
        name=spec.name,
        family=entry.name,
        sensor=info.sensor.name,
        bands=info.band_names,
        end=95.0,
    )
    save_model(model, out)
    report(Progress("done", 100, f"model {spec.name} is ready"))
    return RunResult((CARD, WEIGHTS), {"model": spec.name, "digest": model.card.digest})


def _require_alike(scenes: list[Inputs]) -> None:
    first = scenes[0].scenes[0]
    for inputs in scenes[1:]:
        info = inputs.scenes[0]
        if info.band_names != first.band_names or info.sensor != first.sensor:
            raise SceneError(
                f"{info.scene.href} has bands {' '.join(info.band_names)} ({info.sensor.name}), "
                f"{first.scene.href} has {' '.join(first.band_names)} ({first.sensor.name}). "
                "A model is trained on scenes of one sensor and one band layout.",
                field="scenes",
            )


def model_for(
    spec: JobSpec, inputs: Inputs, scratch: Path, settings: Settings, report: Report
) -> Model:
    """The named model, the one that an interrupted run left in scratch, or one fitted now."""
    if spec.model is not None:
        model = load_model(settings.models_dir / spec.model)
        check_model_fits(model.card, inputs)
        return model
    kept = scratch / "model"
    if (kept / CARD).exists():
        return load_model(kept)
    entry = chosen_detector(spec.process, spec.detector)
    halo = entry.family().halo(inputs.setting)
    sample = sampling.draw(inputs, halo=halo, seed=spec.seed, report=report)
    info = inputs.scenes[-1]
    model = _fit(
        spec,
        sample,
        inputs.setting,
        report,
        name="model",
        family=entry.name,
        sensor=info.sensor.name,
        bands=info.band_names,
        end=40.0,
        place=inputs,
    )
    save_model(model, kept)
    # What was written is what is used: a restarted job then scores with the same bits.
    return load_model(kept)


def _fit(
    spec: JobSpec,
    sample: Sample,
    setting: Setting,
    report: Report,
    *,
    name: str,
    family: str,
    sensor: str,
    bands: tuple[str, ...],
    end: float,
    place: Inputs | None = None,
) -> Model:
    """place: what is scored, whose history calibrates where it has one."""
    if sample.pixels < MIN_VALID_PIXELS:
        raise SceneError(
            f"{sample.pixels:,} valid pixels were found to learn from, {MIN_VALID_PIXELS:,} are "
            "needed. Check nodata, the area and the excluded polygons.",
            field="aoi" if spec.aoi else "scenes",
        )
    known = place is not None and bool(place.history)
    fitted = end / 2 if known else end
    options = FitOptions(setting, spec.seed, report, end=fitted)
    maker = chosen_detector(spec.process, family).family()
    detector = maker.fit(sample, options)
    report(Progress("calibrating", fitted, "scoring the sample"))
    estimate = (
        AsScored(sample.pixels)
        if detector.calibrated
        else calibrate(sample_scores(detector, sample))
    )
    calibration: Calibration = estimate
    if place is not None and known:
        rest = replace(options, start=fitted, end=end)
        calibration = calibrated(place, detector, maker, estimate, rest)
    return make_model(
        detector,
        calibration,
        name=name,
        family=family,
        sensor=sensor,
        bands=bands,
        trained_on=tuple(scene.label for scene in spec.scenes),
        seed=spec.seed,
    )
