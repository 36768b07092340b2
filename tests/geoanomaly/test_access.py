"""Keys, sign-ins, tickets and quotas, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from geoanomaly.access import store as key_store
from geoanomaly.access.keys import Role
from geoanomaly.access.store import SESSION_SECONDS, KeyStore
from geoanomaly.access.tickets import open_ticket, ticket_for
from geoanomaly.errors import (
    NotFoundError,
    ParameterError,
    QuotaError,
    UnknownJobError,
    UnknownSceneError,
)
from geoanomaly.jobs import JobStore, SceneRecord, Verdict
from geoanomaly.jobs.quotas import Quota
from geoanomaly.jobs.tables import api_keys, sessions
from geoanomaly.types import JobSpec, Price, Process, Scene
from tests.clock import Clock

SPEC = JobSpec(Process.DETECT_ANOMALY, (Scene("after.tif"),))


@pytest.fixture
def keys(store: JobStore, clock: Clock) -> KeyStore:
    return KeyStore(store.database, clock)


def everything_in(store: JobStore) -> str:
    with store.database.read() as conn:
        return repr([*conn.execute(select(api_keys)), *conn.execute(select(sessions))])


# Keys.


def test_a_key_is_known_again_and_kept_nowhere(store: JobStore, keys: KeyStore) -> None:
    made = keys.create("alice", Role.SUBMIT, "her laptop")
    secret = made.token.split("_", 2)[2]
    assert len(secret) == 43, "256 bits"
    found = keys.find(made.token)
    assert found is not None
    assert (found.id, found.tenant, found.role) == (made.id, "alice", "submit")
    session = keys.sign_in(found)
    kept = everything_in(store)
    assert made.id in kept
    assert hashlib.sha256(made.token.encode()).hexdigest() in kept
    for text in (made.token, secret, session):
        assert text not in kept


def test_only_the_whole_key_is_good(keys: KeyStore) -> None:
    made, other = keys.create("alice", Role.READ), keys.create("bob", Role.READ)
    swapped = made.token.replace(made.id, other.id)
    wrong = ("", "ga_", made.id, made.token[:-1], made.token + "A", made.token.upper(), swapped)
    for token in (*wrong, other.digest, f" {made.token}", f"{made.token}\n"):
        assert keys.find(token) is None, token
    assert len({keys.create("alice", Role.READ).token for _ in range(50)}) == 50


def test_keys_are_compared_in_constant_time(
    keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known, unknown and malformed keys all go through the one comparison."""
    compared = []
    original = hmac.compare_digest

    def noted(mine: str, theirs: str) -> bool:
        compared.append((mine, theirs))
        return original(mine, theirs)

    monkeypatch.setattr(key_store.hmac, "compare_digest", noted)
    made = keys.create("alice", Role.READ)
    for token in (made.token, "ga_" + "0" * 12 + "_" + "A" * 43, "nonsense"):
        keys.find(token)
    assert [len(mine) == len(theirs) == 64 for mine, theirs in compared] == [True] * 3


def test_a_revoked_key_is_worth_nothing(keys: KeyStore) -> None:
    made = keys.create("alice", Role.ADMIN)
    found = keys.find(made.token)
    assert found is not None
    cookie, ticket = keys.sign_in(found), ticket_for(found, "a1", 60)
    assert open_ticket(ticket, "a1", keys.get) == found
    keys.revoke(made.id)
    keys.revoke(made.id)
    assert keys.find(made.token) is None
    assert keys.session(cookie) is None
    assert open_ticket(ticket, "a1", keys.get) is None
    assert [key.revoked is not None for key in keys.list()] == [True]
    with pytest.raises(NotFoundError, match="keys list"):
        keys.revoke("0" * 12)


def test_roles_include_the_lesser_ones() -> None:
    assert [Role.READ.includes(role) for role in Role] == [True, False, False]
    assert [Role.SUBMIT.includes(role) for role in Role] == [True, True, False]
    assert [Role.ADMIN.includes(role) for role in Role] == [True, True, True]


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", "a b", ".x", "a" * 64, "a\n"])
def test_an_owner_is_a_name_that_can_be_a_folder(keys: KeyStore, name: str) -> None:
    with pytest.raises(ParameterError, match="owner"):
        keys.create(name, Role.READ)


def test_a_sign_in_ends(keys: KeyStore, clock: Clock, store: JobStore) -> None:
    key = keys.find(keys.create("alice", Role.READ).token)
    assert key is not None
    first, second = keys.sign_in(key), keys.sign_in(key)
    keys.sign_out(first)
    assert (keys.session(first), keys.session(second)) == (None, key)
    clock.now += SESSION_SECONDS
    assert keys.session(second) is None
    keys.sign_in(key)
    assert everything_in(store).count(key.id) == 2, "the expired sign-in is gone"


# Tickets.


def test_a_ticket_is_for_one_job_and_a_while(keys: KeyStore) -> None:
    alice = keys.find(keys.create("alice", Role.READ).token)
    bob = keys.find(keys.create("bob", Role.READ).token)
    assert alice
    assert bob
    now = 1_700_000_000.0
    ticket = ticket_for(alice, "a1", 3600, now)
    assert ticket == ticket_for(alice, "a1", 3600, now + 60), "so that tiles stay in the cache"
    assert open_ticket(ticket, "a1", keys.get, now + 3599) == alice
    assert open_ticket(ticket, "a1", keys.get, now + 5401) is None
    assert open_ticket(ticket, "b2", keys.get, now) is None
    key_id, expires, signature = ticket.split(".")
    later = str(int(expires) + 1)
    for forged in (
        f"{key_id}.{later}.{signature}",
        f"{bob.id}.{expires}.{signature}",
        f"{key_id}.{expires}.{'0' * 64}",
        f"{key_id}.{expires}",
        "",
    ):
        assert open_ticket(forged, "a1", keys.get, now) is None, forged
    distant = ticket_for(alice, "a1", 10**9, now)
    assert open_ticket(distant, "a1", keys.get, now) is None, "longer than any that is given"


# Tenants.


def scene(number: int, **changes: Any) -> SceneRecord:
    values: dict[str, Any] = {
        "id": f"s{number}", "path": f"/data/s{number}.tif", "title": "Taizhou", "sensor": None,
        "date": None, "width": 4, "height": 3, "bands": ("red",), "dtype": "uint16", "crs": None,
        "footprint": None, "sha256": "0" * 64, "created": datetime(2024, 5, number, tzinfo=UTC),
        "bytes": 100,
    }  # fmt: skip
    return SceneRecord(**{**values, **changes})


def test_what_others_own_is_not_there(store: JobStore) -> None:
    alice, bob = store.on_behalf_of("alice"), store.on_behalf_of("bob")
    operator = store.on_behalf_of("op", sees_all=True)
    job = alice.create(SPEC, idempotency_key="k")
    alice.add_scene(scene(1))
    calls = (
        lambda s: s.get(job.id),
        lambda s: s.dismiss(job.id),
        lambda s: s.history(job.id),
        lambda s: s.log(job.id),
        lambda s: s.judge(job.id, 1, 1, Verdict.CONFIRMED, ""),
        lambda s: s.withdraw(job.id, 1, 1),
        lambda s: s.judgements(job.id),
    )
    for call in calls:
        with pytest.raises(UnknownJobError):
            call(bob)
    with pytest.raises(UnknownSceneError):
        bob.get_scene("s1")
    assert (bob.list(), bob.list_scenes(), sum(bob.counts().values())) == ([], [], 0)
    assert alice.get(job.id).status == "accepted", "nobody else stopped it"
    for call in calls:
        call(alice)
    assert alice.get_scene("s1").tenant == "alice"
    assert (len(alice.list()), len(alice.list_scenes()), sum(alice.counts().values())) == (1, 1, 1)
    assert (operator.get(job.id).tenant, len(operator.list())) == ("alice", 1)
    assert operator.create(SPEC).tenant == "op"
    assert store.get(job.id).tenant == "alice"


def test_an_idempotency_key_is_its_owners(store: JobStore) -> None:
    alice, bob = store.on_behalf_of("alice"), store.on_behalf_of("bob")
    first = alice.create(SPEC, idempotency_key="k")
    assert alice.create(SPEC, idempotency_key="k").id == first.id
    second = bob.create(SPEC, idempotency_key="k")
    assert (second.id != first.id, second.tenant) == (True, "bob")
    assert store.create(SPEC, idempotency_key="k").tenant == ""
    assert len(store.list()) == 3


# Quotas.

SMALL = Quota(jobs=2, pixels=1000, bytes=250)


def price(pixels: int) -> Price:
    return Price(pixels, 1, (1, pixels), "generic")


def test_jobs_at_a_time(store: JobStore) -> None:
    alice, bob = store.on_behalf_of("alice"), store.on_behalf_of("bob")
    kept = alice.create(SPEC, price=price(1), quota=SMALL, idempotency_key="k")
    second = alice.create(SPEC, price=price(1), quota=SMALL)
    with pytest.raises(QuotaError, match=r"2 jobs .* limit is 2 .*GEOANOMALY_QUOTA_JOBS") as caught:
        alice.create(SPEC, price=price(1), quota=SMALL)
    assert caught.value.retry_after
    assert alice.create(SPEC, price=price(1), quota=SMALL, idempotency_key="k").id == kept.id
    bob.create(SPEC, price=price(1), quota=SMALL)
    alice.dismiss(second.id)
    alice.create(SPEC, price=price(1), quota=SMALL)


def test_pixels_in_a_day(store: JobStore, clock: Clock) -> None:
    alice = store.on_behalf_of("alice")
    with pytest.raises(QuotaError, match=r"1,001 pixels.*1,000") as caught:
        alice.create(SPEC, price=price(1001), quota=SMALL)
    assert caught.value.retry_after is None, "waiting does not help"
    alice.dismiss(alice.create(SPEC, price=price(700), quota=SMALL).id)
    clock.now += 3600
    with pytest.raises(
        QuotaError, match=r"700 pixels, and this one 400.*GEOANOMALY_QUOTA_PIXELS"
    ) as caught:
        alice.create(SPEC, price=price(400), quota=SMALL)
    assert caught.value.retry_after == 23 * 3600
    clock.now += 23 * 3600
    alice.create(SPEC, price=price(400), quota=SMALL)


def test_bytes_that_are_kept(store: JobStore) -> None:
    alice = store.on_behalf_of("alice")
    alice.add_scene(scene(1), SMALL)
    job = alice.create(SPEC, price=price(1), quota=SMALL)
    lease = store.claim(job.id, "w1", 30, 3)
    assert lease is not None
    store.succeed(lease, ("heatmap.tif",), 100)
    with pytest.raises(QuotaError, match=r"200 bytes, and 100 more.*250.*GEOANOMALY_QUOTA_BYTES"):
        alice.add_scene(scene(2), SMALL)
    with pytest.raises(QuotaError):
        alice.check_space(SMALL, 51)
    alice.check_space(SMALL, 50)
    store.on_behalf_of("bob").add_scene(scene(3), SMALL)
    assert [each.id for each in store.list_scenes()] == ["s3", "s1"]
    with pytest.raises(QuotaError):
        alice.create(SPEC, price=price(1), quota=replace(SMALL, bytes=199))


def test_what_processes_count_together(store: JobStore) -> None:
    for label in ("memory", "time", "memory"):
        store.count("sandbox_refusals", label)
    counted = {("sandbox_refusals", "memory"): 2, ("sandbox_refusals", "time"): 1}
    assert store.statistics().counters == counted
