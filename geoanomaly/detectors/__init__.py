"""The detectors by name. Knows no torch: a detector's module is imported when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from geoanomaly.errors import ParameterError
from geoanomaly.types import Process

if TYPE_CHECKING:
    from geoanomaly.detectors.base import DetectorFamily


@dataclass(frozen=True)
class Entry:
    """A detector that can be asked for. module: where its `FAMILY` is."""

    name: str
    title: str
    module: str
    processes: tuple[Process, ...]

    def family(self) -> DetectorFamily:
        name = self.name.replace("-", "_").upper()
        family: DetectorFamily = getattr(import_module(self.module), name)
        return family


_SINGLE = (Process.DETECT_ANOMALY, Process.TRAIN_MODEL)
_CHANGE = (Process.DETECT_CHANGE,)

# The first that serves a process is its default.
DETECTORS: tuple[Entry, ...] = (
    Entry(
        "auto",
        "The views of the scenes that confirm each other, fused",
        "geoanomaly.detectors.auto",
        (*_CHANGE, *_SINGLE),
    ),
    Entry(
        "cvae",
        "Linear no-change relation corrected by a conditional VAE",
        "geoanomaly.detectors.change",
        _CHANGE,
    ),
    Entry("rwr", "Linear no-change relation alone", "geoanomaly.detectors.change", _CHANGE),
    Entry(
        "history",
        "Forecast from all earlier scenes of the place, corrected by a conditional VAE",
        "geoanomaly.detectors.history",
        _CHANGE,
    ),
    Entry("irmad", "Multivariate alteration (IR-MAD)", "geoanomaly.detectors.irmad", _CHANGE),
    Entry("cva", "Difference of z-scored bands", "geoanomaly.detectors.cva", _CHANGE),
    Entry("log-ratio", "Log-ratio, for SAR", "geoanomaly.detectors.log_ratio", _CHANGE),
    Entry(
        "ravaen", "Latent distance of 32 px blocks (RaVAEn)", "geoanomaly.detectors.ravaen", _CHANGE
    ),
    Entry(
        "ravaen-dense",
        "Latent distance of 32 px blocks, every 8 px",
        "geoanomaly.detectors.ravaen",
        _CHANGE,
    ),
    Entry(
        "vae",
        "Whitened residual and code of a VAE",
        "geoanomaly.detectors.autoencoders",
        _SINGLE,
    ),
    Entry("ae", "Residual of an autoencoder", "geoanomaly.detectors.autoencoders", _SINGLE),
    Entry(
        "bank",
        "Distance to a memory of normal pixels (PatchCore)",
        "geoanomaly.detectors.bank",
        _SINGLE,
    ),
    Entry(
        "surroundings",
        "Unlike what its surroundings lead to expect",
        "geoanomaly.detectors.surroundings",
        _SINGLE,
    ),
    Entry("rx", "Mahalanobis distance (global RX)", "geoanomaly.detectors.rx", _SINGLE),
    Entry("local-rx", "Mahalanobis distance in a ring", "geoanomaly.detectors.local_rx", _SINGLE),
    Entry(
        "pca",
        "Residual of principal components (linear autoencoder)",
        "geoanomaly.detectors.pca",
        _SINGLE,
    ),
)


def detector_named(name: str) -> Entry:
    """The entry of that name; ParameterError names those that exist."""
    for entry in DETECTORS:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in DETECTORS)
    raise ParameterError(f"{name!r} is not a detector. Known: {known}.", field="detector")


def detectors_for(process: Process) -> tuple[Entry, ...]:
    return tuple(entry for entry in DETECTORS if process in entry.processes)


def chosen_detector(process: Process, name: str | None) -> Entry:
    """The detector asked for, else the default of the process."""
    return detector_named(name) if name else detectors_for(process)[0]
