"""A sample of each kind of bad input through the real service; `make hostile` sends them all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geoanomaly.sandbox.supervisor import Sandbox, tally
from tests.hostile.corpus import MAKERS, cases
from tests.hostile.mutations import READING, mutations, swallow
from tests.hostile.run import MIB, Target, attack, target, unharmed

SAMPLE = {"areas": 14, "paths": 20, "parameters": 12}
"""Every so many cases of a kind; of the others every tenth."""

ENDINGS = {"did not open", "were read", "were refused", "were stopped"}

PATIENCE = 20.0
"""Seconds. Other tests run beside this one; `make hostile` holds to two."""


@pytest.fixture(scope="module")
def aim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("hostile")) as found:
        yield found


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "bombs"])
def test_each_kind_is_refused_in_words_and_harms_nobody(aim: Target, kind: str) -> None:
    chosen = list(cases(aim.planted, [kind]))[:: SAMPLE.get(kind, 10)]
    report = attack(aim, chosen, PATIENCE)
    assert sum(report.counts.values()) == len(chosen) > 0
    assert [f"{case.name}: {what}" for case, what in report.faults] == []
    assert unharmed(aim)


def test_bombs_stay_small(aim: Target) -> None:
    report = attack(aim, list(cases(aim.planted, ["bombs"]))[::5], PATIENCE)
    assert [f"{case.name}: {what}" for case, what in report.faults] == []
    assert 0 < tally.peak < MIB * 2**20


def test_mutated_rasters_end_in_their_children(aim: Target) -> None:
    box = Sandbox(aim.settings, READING)
    endings = {swallow(box, content) for content in mutations(60)}
    box.close()
    assert {"did not open", "were read"} <= endings <= ENDINGS
    assert unharmed(aim)
