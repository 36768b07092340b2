"""What there is to watch: counted by all processes in one place, and never backwards."""

from __future__ import annotations

from geoanomaly.jobs import JobStore
from geoanomaly.types import JobStatus, Price, Progress
from tests.clock import Clock
from tests.geoanomaly.test_jobs import SPEC, claim

PRICE = Price(pixels=1000, tiles=8, shape=(20, 50), sensor="generic")


def test_the_queue_has_an_age(store: JobStore, clock: Clock) -> None:
    assert store.statistics().queue_age == 0
    first = store.create(SPEC)
    clock.now += 90
    store.create(SPEC)
    found = store.statistics()
    assert (found.queue_age, found.jobs[JobStatus.ACCEPTED], found.silent) == (90, 2, 0)
    claim(store, first.id)
    assert store.statistics().queue_age == 0
    clock.now += 31
    found = store.statistics()
    assert (found.queue_age, found.silent) == (31, 1)
    assert set(found.jobs) == set(JobStatus)


def test_tiles_come_with_the_progress(store: JobStore, clock: Clock) -> None:
    def tiles() -> int:
        return store.statistics().counters.get(("tiles", ""), 0)

    lease = claim(store, store.create(SPEC, price=PRICE).id)
    seen = []
    for percent in (0, 10, 49, 50, 50, 20, 99):
        store.report(lease, Progress("scoring", percent))
        seen.append(tiles())
    assert seen == [0, 0, 3, 4, 4, 4, 7]
    clock.now += 12
    store.succeed(lease, (), 5)
    counted = {name: value for (name, _), value in store.statistics().counters.items()}
    assert counted == {"tiles": 8, "pixels": 1000, "job_seconds": 12}


def test_a_takeover_is_counted(url: str, clock: Clock) -> None:
    steady = Clock()
    found = JobStore(url, clock, steady)
    claim(found, found.create(SPEC).id)
    for _ in range(5):
        found.sweep(60, 30)
        steady.now += 10
    assert found.statistics().counters == {("lease_takeovers", ""): 1}
    found.close()


def test_two_processes_count_together(url: str) -> None:
    one, other = JobStore(url), JobStore(url)
    for each in (one, other, one):
        each.count("sandbox_refusals", "memory")
    assert other.statistics().counters == {("sandbox_refusals", "memory"): 3}
    one.close()
    other.close()
