"""Earlier scenes of the place over HTTP, and what the legend says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geoanomaly.errors import SceneError, UnknownSceneError
from geoanomaly.jobs import SceneRecord
from geoanomaly.results.map_parts import legend_html
from geoanomaly.settings import Settings
from geoanomaly.types import Process, Scene
from tests.rasters import change_pair
from web.descriptions import description
from web.inputs import job_spec


def unknown(scene_id: str) -> SceneRecord:
    raise UnknownSceneError(scene_id)


def test_a_history_is_one_scene_or_a_list(tmp_path: Path) -> None:
    before, after, _ = change_pair(tmp_path, size=64)
    settings = Settings(data_dir=tmp_path / "data", scene_roots=(tmp_path,))
    pair = {"before": {"href": str(before)}, "after": {"href": str(after)}}

    def history(*given: object) -> tuple[Scene, ...]:
        inputs = {**pair, **({"history": given[0]} if given else {})}
        return job_spec(Process.DETECT_CHANGE, inputs, settings, unknown).history

    assert history() == ()
    assert [scene.origin for scene in history(pair["before"])] == [str(before)]
    assert [scene.origin for scene in history([pair["before"]] * 2)] == [str(before)] * 2
    with pytest.raises(SceneError) as caught:
        history([pair["before"], 3])
    assert caught.value.field == "history"


def test_the_description_has_it() -> None:
    told = description(Process.DETECT_CHANGE)["inputs"]["history"]
    assert told["maxOccurs"] == "unbounded"
    assert told["minOccurs"] == 0
    assert "history" not in description(Process.DETECT_ANOMALY)["inputs"]
    assert json.dumps(told)


def test_the_legend_says_what_its_shares_rest_on() -> None:
    basis = "calibrated on the history of the place (2 pairs)"
    assert f"score as high; {basis}</small>" in legend_html(basis)
    assert ";" not in legend_html("").partition("</small>")[0]
