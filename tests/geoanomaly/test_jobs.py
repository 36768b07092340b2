"""The job store, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from geoanomaly.errors import LeaseLostError, ServiceError, UnknownJobError, UnknownSceneError
from geoanomaly.jobs import JobStore, Lease, SceneRecord, Verdict
from geoanomaly.jobs.states import LEGAL, check_move
from geoanomaly.types import AOI, JobSpec, JobStatus, Price, Process, Progress, Scene
from tests.clock import Clock
from tests.services import ROOT

SPEC = JobSpec(Process.DETECT_ANOMALY, (Scene("after.tif"),))


def sweep(store: JobStore, undelivered_after: float = 60) -> list[str]:
    return store.sweep(undelivered_after, silent_after=30)


def watch(store: JobStore, clock: Clock, seconds: int = 31) -> list[str]:
    """Sweep as a worker does for so long; all ids that were to be rung."""
    found = sweep(store, 9e9)
    for _ in range(seconds):
        clock.now += 1
        found += sweep(store, 9e9)
    return found


def claim(store: JobStore, job_id: str, owner: str = "w1") -> Lease:
    lease = store.claim(job_id, owner, seconds=30, max_attempts=3)
    assert lease is not None
    return lease


def test_spec_comes_back_equal(store: JobStore) -> None:
    spec = JobSpec(
        Process.DETECT_CHANGE,
        (Scene("a.tif", date="2020-01-01"), Scene("b.tif", sensor="landsat-c2-l2")),
        aoi=AOI(box(1, 2, 3, 4), "EPSG:32650"),
        false_alarm_rate=0.001,
        seed=7,
    )
    job = store.create(spec)
    assert store.get(job.id) == job
    assert job.spec == spec
    assert (job.status, job.attempt, job.progress) == (
        JobStatus.ACCEPTED,
        0,
        Progress("queued", 0.0),
    )
    assert job.created.tzinfo is UTC


def test_unknown_job_is_named(store: JobStore) -> None:
    with pytest.raises(UnknownJobError, match="nope"):
        store.get("nope")
    with pytest.raises(UnknownJobError, match="nope"):
        store.dismiss("nope")
    assert store.claim("nope", "w1", 30, 3) is None


def test_same_key_same_job(store: JobStore) -> None:
    first = store.create(SPEC, idempotency_key="k")
    assert store.create(SPEC, idempotency_key="k").id == first.id
    assert store.create(SPEC, idempotency_key="other").id != first.id
    assert store.create(SPEC).id != store.create(SPEC).id


def test_list_is_newest_first_and_filters(store: JobStore) -> None:
    ids = [store.create(SPEC).id for _ in range(4)]
    change = store.create(replace(SPEC, process=Process.DETECT_CHANGE, scenes=SPEC.scenes * 2)).id
    claim(store, ids[1])
    assert [j.id for j in store.list()] == [change, *reversed(ids)]
    assert [j.id for j in store.list(limit=2, offset=1)] == [ids[3], ids[2]]
    assert [j.id for j in store.list(status=JobStatus.RUNNING)] == [ids[1]]
    assert [j.id for j in store.list(process=Process.DETECT_CHANGE)] == [change]
    counts = store.counts()
    assert (counts[JobStatus.ACCEPTED], counts[JobStatus.RUNNING]) == (4, 1)
    assert counts[JobStatus.FAILED] == 0


def test_list_by_what_was_asked_and_by_what_changed(store: JobStore, clock: Clock) -> None:
    named = replace(SPEC, scenes=(Scene("/data/a.tif", title="Größe 100%_x.tif"),))
    first = store.create(named).id
    clock.now += 10
    second = store.create(replace(SPEC, detector="local-rx")).id

    def found(**filters: Any) -> list[str]:
        return [job.id for job in store.list(**filters)]

    assert found(text="größe") == found(text="100%_X") == [first], "no wildcard, any case"
    assert found(text="100%x") == found(text="100__x") == []
    assert found(text="LOCAL-rx") == [second]
    assert found(text=first[:9]) == [first]
    assert found(text="") == [second, first]
    assert found(since=datetime.fromtimestamp(clock.now, UTC)) == [second]
    store.report(claim(store, first), Progress("scoring", 1.0))
    assert found(since=datetime.fromtimestamp(clock.now, UTC)) == [second, first]
    assert found(since=datetime.fromtimestamp(clock.now + 1, UTC)) == []


def test_the_log_has_what_happened_and_no_counting(store: JobStore, clock: Clock) -> None:
    job = store.create(
        SPEC, price=Price(1, 1, (1, 1), "generic", ("after.tif: 4 bands, taken as generic.",))
    )
    clock.now += 1
    lease = claim(store, job.id, "host:77")
    said = [
        Progress("reading", 1.0, "opening the scenes"),
        Progress("reading", 2.0, "3 sample windows"),
        Progress("reading", 3.0, "4 sample windows"),
        Progress("scoring", 40.0, "0 of 200 tiles"),
        Progress("scoring", 50.0, "1 of 200 tiles, 0.7 a second, 1 h 2 min left"),
        Progress("scoring", 60.0, "199 of 200 tiles, 14.3 a second, 1 s left"),
        Progress("writing", 90.0),
    ]
    for progress in said:
        clock.now += 1
        store.report(lease, progress)
    clock.now += 1
    store.succeed(lease, ())
    log = store.log(job.id)
    assert [(line.stage, line.text) for line in log] == [
        ("accepted", ""),
        ("checked", "after.tif: 4 bands, taken as generic."),
        ("running", "attempt 1"),
        ("reading", "opening the scenes"),
        ("reading", "3 sample windows"),
        ("scoring", "0 of 200 tiles"),
        ("successful", ""),
    ]
    assert [line.at for line in log] == sorted(line.at for line in log)
    store.dismiss(other := store.create(SPEC).id)
    assert store.log(other)[-1].text == "cancelled by the user"
    with pytest.raises(UnknownJobError):
        store.log("nope")


def test_job_to_its_end(store: JobStore, clock: Clock) -> None:
    job = store.create(SPEC)
    lease = claim(store, job.id)
    assert (lease.fence, lease.attempt) == (1, 1)
    assert store.claim(job.id, "w2", 30, 3) is None
    clock.now += 5
    assert store.report(lease, Progress("scoring", 40.0, "12 tiles/s")) is False
    assert store.report(lease, Progress("scoring", 30.0)) is False
    assert store.get(job.id).progress.percent == 40.0
    store.succeed(lease, ("heatmap.tif", "run.json"))
    done = store.get(job.id)
    assert (done.status, done.outputs) == (JobStatus.SUCCESSFUL, ("heatmap.tif", "run.json"))
    assert done.progress == Progress("done", 100.0)
    assert done.finished is not None
    assert done.started is not None
    assert (done.finished - done.started).total_seconds() == 5
    steps = [(t.source, t.target, t.fence) for t in store.history(job.id)]
    assert steps == [
        (None, JobStatus.ACCEPTED, 0),
        (JobStatus.ACCEPTED, JobStatus.RUNNING, 1),
        (JobStatus.RUNNING, JobStatus.SUCCESSFUL, 1),
    ]


def test_failure_keeps_its_reason(store: JobStore) -> None:
    job = store.create(SPEC)
    store.fail(claim(store, job.id), "band 3 is missing")
    failed = store.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert (failed.progress.stage, failed.progress.message) == ("failed", "band 3 is missing")
    assert store.dismiss(job.id) == failed


def test_stale_lease_writes_nothing(store: JobStore, clock: Clock) -> None:
    job = store.create(SPEC)
    old = claim(store, job.id, "w1")
    watch(store, clock)
    new = claim(store, job.id, "w2")
    assert (new.fence, new.attempt) == (2, 2)
    before = store.get(job.id)
    writes = [
        lambda: store.renew(old, 30),
        lambda: store.report(old, Progress("scoring", 99.0)),
        lambda: store.succeed(old, ("wrong.tif",)),
        lambda: store.fail(old, "wrong"),
        lambda: store.cancelled(old),
        lambda: store.release(old),
        lambda: store.renew(replace(new, owner="w1"), 30),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError, match=job.id):
            write()
    assert store.get(job.id) == before
    store.succeed(new, ("right.tif",))
    assert store.get(job.id).outputs == ("right.tif",)


def test_renewed_lease_does_not_expire(store: JobStore, clock: Clock) -> None:
    job = store.create(SPEC)
    lease = claim(store, job.id)
    for _ in range(4):
        assert watch(store, clock, 20) == []
        assert store.renew(lease, 30) is False
    assert store.claim(job.id, "w2", 30, 3) is None
    assert watch(store, clock, 31) == [job.id]


def test_jumps_of_the_clock_end_no_lease_and_prolong_none(url: str) -> None:
    wall, steady = Clock(), Clock()
    store = JobStore(url, wall, steady)
    job = store.create(SPEC)
    lease = claim(store, job.id)
    for jump in (3600, -7200, 1e6, -2e6):
        wall.now += jump
        assert watch(store, steady, 20) == []
        assert store.claim(job.id, "w2", 30, 3) is None
        assert store.renew(lease, 30) is False
    wall.now -= 1e6
    assert watch(store, steady, 31) == [job.id], "silent for 31 s, whatever the wall says"
    store.close()


def test_who_was_stopped_himself_ends_no_lease(store: JobStore, clock: Clock) -> None:
    """A whole machine that sleeps: the watcher may wake before the worker does."""
    lease = claim(store, store.create(SPEC).id)
    assert watch(store, clock, 5) == []
    clock.now += 10_000
    assert sweep(store, 9e9) == []
    assert store.renew(lease, 30) is False
    assert watch(store, clock, 29) == []


def test_a_job_rung_in_the_future_is_rung_again(store: JobStore, clock: Clock) -> None:
    """The clock was set back by a day after it was rung."""
    job = store.create(SPEC)
    clock.now -= 86_400
    assert sweep(store, 9e9) == [job.id]
    assert sweep(store, 9e9) == []


def test_silent_owner_goes_on_if_nobody_took_over(store: JobStore, clock: Clock) -> None:
    lease = claim(store, store.create(SPEC).id)
    clock.now += 1000  # a laptop slept
    assert store.renew(lease, 30) is False
    store.succeed(lease, ())


def test_too_many_attempts_fail_with_the_reason(store: JobStore, clock: Clock) -> None:
    job = store.create(SPEC)
    for attempt in (1, 2, 3):
        assert claim(store, job.id).attempt == attempt
        assert watch(store, clock) == [job.id]
        assert store.get(job.id).status is JobStatus.ACCEPTED
    assert store.claim(job.id, "w1", 30, 3) is None
    failed = store.get(job.id)
    assert failed.status is JobStatus.FAILED
    assert "3 attempts (limit 3)" in failed.progress.message


def test_release_does_not_count_as_an_attempt(store: JobStore) -> None:
    job = store.create(SPEC)
    for fence in range(1, 6):
        lease = claim(store, job.id)
        assert (lease.fence, lease.attempt) == (fence, 1)
        store.release(lease)
        assert store.get(job.id).status is JobStatus.ACCEPTED
    assert sweep(store) == [job.id]


def test_dismiss_while_queued_is_at_once(store: JobStore) -> None:
    job = store.create(SPEC)
    assert store.dismiss(job.id).status is JobStatus.DISMISSED
    assert store.claim(job.id, "w1", 30, 3) is None
    assert store.dismiss(job.id).status is JobStatus.DISMISSED


def test_dismiss_while_running_asks_the_worker(store: JobStore) -> None:
    job = store.create(SPEC)
    lease = claim(store, job.id)
    asked = store.dismiss(job.id)
    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
    assert store.renew(lease, 30) is True
    assert store.report(lease, Progress("scoring", 10.0)) is True
    store.cancelled(lease)
    assert store.get(job.id).status is JobStatus.DISMISSED


def test_dismissed_when_its_worker_is_gone(store: JobStore, clock: Clock) -> None:
    swept, at_once = (store.create(SPEC).id for _ in range(2))
    for job_id in (swept, at_once):
        claim(store, job_id)
    assert store.dismiss(swept).status is JobStatus.RUNNING
    clock.now += 31
    assert store.dismiss(at_once).status is JobStatus.DISMISSED, "also where nobody sweeps"
    assert watch(store, clock) == []
    assert store.get(swept).status is JobStatus.DISMISSED


def test_released_after_a_cancel_is_dismissed(store: JobStore) -> None:
    lease = claim(store, store.create(SPEC).id)
    store.dismiss(lease.job_id)
    store.release(lease)
    assert store.get(lease.job_id).status is JobStatus.DISMISSED


def test_sweep_finds_what_was_lost_once(store: JobStore, clock: Clock) -> None:
    waiting, running = store.create(SPEC).id, store.create(SPEC).id
    claim(store, running)
    assert watch(store, clock, 29) == []
    assert watch(store, clock, 2) == [running]
    assert sweep(store) == []
    clock.now += 30
    assert sweep(store) == [waiting]
    assert sweep(store, float("inf")) == []
    clock.now += 60
    assert sweep(store) == [waiting, running]


def scene(number: int, **changes: Any) -> SceneRecord:
    values = {
        "id": f"s{number}",
        "path": f"/data/s{number}.tif",
        "title": "Taizhou",
        "sensor": None,
        "date": "2000-03-17",
        "width": 400,
        "height": 300,
        "bands": ("red", "nir"),
        "dtype": "uint16",
        "crs": "EPSG:32651",
        "footprint": {"type": "Point", "coordinates": [120.0, 32.0]},
        "sha256": "0" * 64,
        "created": datetime(2024, 5, number, 12, 30, 1, tzinfo=UTC),
    }
    return SceneRecord(**{**values, **changes})


def test_scenes(store: JobStore) -> None:
    first, second = scene(1), scene(2, footprint=None, crs=None, sensor="rgb", date=None)
    store.add_scene(first)
    store.add_scene(second)
    assert store.get_scene("s1") == first
    assert store.list_scenes() == [second, first]
    store.add_scene(replace(first, title="Taizhou 2000"))
    assert store.get_scene("s1").title == "Taizhou 2000"
    with pytest.raises(UnknownSceneError, match="s9"):
        store.get_scene("s9")


def test_moves_that_the_table_lacks_raise() -> None:
    for source, targets in LEGAL.items():
        for target in JobStatus:
            if target in targets:
                check_move(source, target)
            else:
                with pytest.raises(ValueError, match=f"cannot become {target}"):
                    check_move(source, target)


LEASED = ("claim", "renew", "report", "succeed", "fail", "cancelled", "release")
ACTIONS = st.sampled_from([*LEASED, "dismiss", "sweep", "wait"])


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(actions=st.lists(st.tuples(ACTIONS, st.integers(0, 2)), max_size=25))
def test_any_order_of_events_is_a_legal_history(
    tmp_path: Path, actions: list[tuple[str, int]]
) -> None:
    clock = Clock()
    store = JobStore(f"sqlite:///{tmp_path / 'any.db'}", clock, clock)
    job_id = store.create(SPEC).id
    leases: list[Lease] = []
    percent = 0.0
    for action, number in actions:
        was = store.get(job_id)
        act(store, clock, job_id, leases, action, number)
        now = store.get(job_id)
        assert not was.status.final or now == was, "a final job changed"
        assert now.progress.percent >= percent
        assert now.attempt <= 2
        percent = now.progress.percent
    history = store.history(job_id)
    for before, after in pairwise(history):
        assert after.source == before.target
        assert after.target in LEGAL[before.target]
        assert after.fence >= before.fence
    assert history[-1].target == store.get(job_id).status
    store.close()


def act(
    store: JobStore, clock: Clock, job_id: str, leases: list[Lease], action: str, number: int
) -> None:
    """One event; a write under a lease that is not the newest has to be refused."""
    if action == "claim":
        lease = store.claim(job_id, f"w{number}", 30, max_attempts=2)
        leases.extend([lease] if lease else [])
    elif action == "wait":
        clock.now += 10.0 * (number + 1)
    elif action in ("dismiss", "sweep"):
        store.dismiss(job_id) if action == "dismiss" else store.sweep(5.0, 15.0)
    elif leases:
        lease = leases[-1 - number % len(leases)]
        extra = {
            "renew": (30.0,),
            "report": (Progress("scoring", 30.0 * number),),
            "succeed": (("a.tif",),),
            "fail": ("broken",),
        }.get(action, ())
        if lease is leases[-1] and store.get(job_id).status is JobStatus.RUNNING:
            getattr(store, action)(lease, *extra)
        else:
            with pytest.raises(LeaseLostError):
                getattr(store, action)(lease, *extra)


RACE = """
import multiprocessing, sys
from geoanomaly.jobs import JobStore
from geoanomaly.types import JobSpec, Process, Scene

url, context = sys.argv[1], multiprocessing.get_context("fork")
start, claimed = context.Barrier(8), context.SimpleQueue()

def race(number):
    start.wait()
    store = JobStore(url)
    spec = JobSpec(Process.DETECT_ANOMALY, (Scene("a.tif"),))
    ids = [store.create(spec, idempotency_key=f"job {n}").id for n in range(25)]
    start.wait()
    claimed.put([i for i in ids if store.claim(i, f"w{number}", 60, 3)])
    store.close()

racers = [context.Process(target=race, args=(n,)) for n in range(8)]
for racer in racers:
    racer.start()
for won in [claimed.get() for _ in racers]:
    print(*won)
for racer in racers:
    racer.join()
    assert racer.exitcode == 0
"""


def test_eight_processes_share_one_database(url: str) -> None:
    """They create the tables, the jobs and the leases at the same time."""
    command = [sys.executable, "-W", "error", "-c", RACE, url]
    race = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert race.stderr == ""
    claimed = race.stdout.split()
    store = JobStore(url)
    assert sorted(claimed) == sorted(job.id for job in store.list())
    assert len(claimed) == 25
    store.close()


def test_database_that_is_away_is_a_service_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((ServiceError, NotADirectoryError, FileExistsError)):
        JobStore(f"sqlite:///{tmp_path / 'file' / 'jobs.db'}")
    url = f"postgresql:///none?host={tmp_path}"
    with pytest.raises(ServiceError, match="GEOANOMALY_DATABASE_URL"):
        JobStore(url)


def test_a_judgement_is_kept_with_its_job(store: JobStore, clock: Clock) -> None:
    job, other = store.create(SPEC), store.create(SPEC)
    first = store.judge(job.id, 3, 4, Verdict.DISMISSED, "shadow")
    clock.now += 1
    store.judge(job.id, 9, 9, Verdict.CONFIRMED, "")
    clock.now += 1
    changed = store.judge(job.id, 3, 4, Verdict.CONFIRMED, "no, a roof")
    assert changed.at > first.at
    found = store.judgements(job.id)
    assert [(each.key, each.verdict, each.note) for each in found] == [
        ("9-9", "confirmed", ""),
        ("3-4", "confirmed", "no, a roof"),
    ]
    store.withdraw(job.id, 9, 9)
    store.withdraw(job.id, 9, 9)
    assert [each.key for each in store.judgements(job.id)] == ["3-4"]
    assert store.judgements(other.id) == []
    for call in (store.judgements, lambda job: store.withdraw(job, 1, 1)):
        with pytest.raises(UnknownJobError):
            call("nowhere")
