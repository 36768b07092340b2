"""Nothing that comes in is unpickled: not a model, not a message of the broker."""

from __future__ import annotations

import ast
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.exceptions import ContentDisallowed
from safetensors import SafetensorError

import geoanomaly
import tasks
import tiling
import web
from geoanomaly.models import CARD, WEIGHTS, load_model
from geoanomaly.settings import Settings
from tasks.app import create_app
from tasks.queue import QUEUE, client

UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


def test_the_payload_works(trace: Path) -> None:
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()


def test_a_model_whose_weights_are_a_pickle_is_not_read(tmp_path: Path, trace: Path) -> None:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    weights = pickle.dumps(Payload(trace))
    (folder / WEIGHTS).write_bytes(weights)
    card = {
        "name": "m", "detector": "rx", "sensor": "generic", "bands": ["a"], "calibration": {},
        "digest": hashlib.sha256(weights).hexdigest(), "config": {}, "trained_on": [], "seed": 0,
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    (folder / CARD).write_text(json.dumps(card))
    with pytest.raises(SafetensorError):
        load_model(folder)
    assert not trace.exists()


def test_a_pickled_message_is_not_read(settings: Settings, trace: Path) -> None:
    worker = create_app(settings, lambda _: None)
    for app in (worker, client("memory://")):
        assert list(app.conf.accept_content) == ["json"]
    with Connection("memory://") as connection, connection.channel() as channel:
        consumer = worker.amqp.TaskConsumer(channel)
        with connection.Producer() as producer:
            message = Payload(trace)
            producer.publish(message, serializer="pickle", routing_key=QUEUE, exchange="")
        received = consumer.queues[0].bind(channel).get(accept=consumer.accept)
        with pytest.raises(ContentDisallowed):
            received.decode()
    assert not trace.exists()


def test_no_module_of_ours_can_unpickle() -> None:
    for package in (geoanomaly, tasks, tiling, web):
        for path in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [
                    each.name for each in getattr(node, "names", []) if isinstance(node, ast.Import)
                ]
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not UNPICKLING & {name.partition(".")[0] for name in names}, path
