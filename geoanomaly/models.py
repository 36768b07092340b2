"""Trained models on disk: safetensors for the arrays, JSON for everything that says what they are.

Knows no torch, so the web process can list models. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import load, save

from geoanomaly import calibration as calibrations
from geoanomaly.calibration import Calibration
from geoanomaly.detectors import detector_named
from geoanomaly.errors import UnknownModelError
from tiling.cog import whole_file

if TYPE_CHECKING:
    import torch

    from geoanomaly.detectors.base import Detector

CARD = "model.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What a model is: enough to refuse a scene that it was not made for.

    digest: sha256 of the weights file; config: the detector's own description
    (normalisation, architecture); trained_on: names of the scenes.
    """

    name: str
    detector: str
    sensor: str
    bands: tuple[str, ...]
    digest: str
    calibration: Mapping[str, Any]
    config: Mapping[str, Any]
    trained_on: tuple[str, ...]
    seed: int
    created: str


@dataclass(frozen=True)
class Model:
    """A fitted detector with its calibration and its card."""

    detector: Detector
    calibration: Calibration
    card: ModelCard

    def to(self, device: torch.device) -> Model:
        return replace(self, detector=self.detector.to(device))


def make_model(
    detector: Detector,
    calibration: Calibration,
    *,
    name: str,
    family: str,
    sensor: str,
    bands: tuple[str, ...],
    trained_on: tuple[str, ...],
    seed: int,
) -> Model:
    state = detector.state()
    card = ModelCard(
        name=name,
        detector=family,
        sensor=sensor,
        bands=bands,
        digest=hashlib.sha256(save(dict(state.tensors))).hexdigest(),
        calibration=calibration.config(),
        config=state.config,
        trained_on=trained_on,
        seed=seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Model(detector, calibration, card)


def save_model(model: Model, folder: Path) -> None:
    """Write a model's two files; the card comes last, so a folder with a card is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    _write(folder / WEIGHTS, save(dict(model.detector.state().tensors)))
    _write(folder / CARD, json.dumps(asdict(model.card), indent=1).encode())


def load_model(folder: Path) -> Model:
    """Read a model back; UnknownModelError when it is missing or its digest is wrong."""
    from geoanomaly.detectors.base import State  # imports torch

    card = read_card(folder.parent, folder.name)
    data = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != card.digest:
        raise UnknownModelError(f"{card.name} (its weights are damaged: train it again)")
    family = detector_named(card.detector).family()
    detector = family.restore(State(card.config, load(data)))
    return Model(detector, calibrations.restore(card.calibration), card)


def read_card(models_dir: Path, name: str) -> ModelCard:
    """The card of a model; UnknownModelError names those that exist."""
    path = models_dir / name / CARD
    if Path(name).name != name or not path.is_file():
        raise UnknownModelError(name, tuple(card.name for card in list_cards(models_dir)))
    data = json.loads(path.read_text())
    data["bands"], data["trained_on"] = tuple(data["bands"]), tuple(data["trained_on"])
    return ModelCard(**data)


def list_cards(models_dir: Path) -> list[ModelCard]:
    """All models, by name."""
    return [
        read_card(models_dir, path.parent.name) for path in sorted(models_dir.glob(f"*/{CARD}"))
    ]


def _write(path: Path, data: bytes) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(data)
