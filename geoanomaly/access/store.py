"""Keys and sign-ins in the job database."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, insert, select, update

from geoanomaly.access.keys import TOKEN, Key, NewKey, Role, digest_of, known_tenant
from geoanomaly.errors import NotFoundError
from geoanomaly.jobs.database import Database
from geoanomaly.jobs.records import moment
from geoanomaly.jobs.tables import api_keys, sessions

SESSION_SECONDS = 12 * 3600.0
NOBODY = "0" * 64


class KeyStore:
    """clock: as in `JobStore`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._read, self._write, self._clock = database.read, database.write, clock

    def create(self, tenant: str, role: Role, note: str = "") -> NewKey:
        """A new key; this answer is the only place where it can be read."""
        fresh = NewKey.make()
        values = {"id": fresh.id, "digest": fresh.digest, "tenant": known_tenant(tenant)}
        with self._write() as conn:
            conn.execute(
                insert(api_keys).values(**values, role=role.value, note=note, created=self._clock())
            )
        return fresh

    def list(self) -> list[Key]:
        """All keys, oldest first, revoked ones too."""
        with self._read() as conn:
            rows = conn.execute(select(api_keys).order_by(api_keys.c.created)).all()
        return [_key_of(row) for row in rows]

    def revoke(self, key_id: str) -> None:
        """From now on the key, its sign-ins and its tickets are worth nothing."""
        dead = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
        with self._write() as conn:
            known = conn.execute(select(api_keys.c.id).where(api_keys.c.id == key_id)).first()
            if known is None:
                raise NotFoundError(f"There is no key {key_id!r}; `geoanomaly keys list` has all.")
            conn.execute(dead.values(revoked=self._clock()))
            conn.execute(sessions.delete().where(sessions.c.key_id == key_id))

    def find(self, token: str) -> Key | None:
        """The key that this is, unless it is revoked."""
        form = TOKEN.fullmatch(token)
        key = self.get(form[1]) if form else None
        # Compared in any case, and in constant time: how long it takes says nothing.
        same = hmac.compare_digest(digest_of(token), key.digest if key else NOBODY)
        return key if same else None

    def get(self, key_id: str) -> Key | None:
        """By its public id, unless it is revoked."""
        query = select(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
        with self._read() as conn:
            row = conn.execute(query).one_or_none()
        return None if row is None else _key_of(row)

    # Signed in to the pages.

    def sign_in(self, key: Key) -> str:
        """What goes into the cookie: good for SESSION_SECONDS, and not the key."""
        token, now = secrets.token_urlsafe(32), self._clock()
        with self._write() as conn:
            conn.execute(sessions.delete().where(sessions.c.expires <= now))
            values = {"digest": digest_of(token), "key_id": key.id}
            conn.execute(insert(sessions).values(**values, expires=now + SESSION_SECONDS))
        return token

    def session(self, token: str) -> Key | None:
        """Whose sign-in this is, while it and the key are good.

        Found by its digest: what the search may tell of it by its time is of no use.
        """
        query = select(api_keys).join(sessions, sessions.c.key_id == api_keys.c.id)
        good = (sessions.c.expires > self._clock(), api_keys.c.revoked.is_(None))
        with self._read() as conn:
            row = conn.execute(
                query.where(sessions.c.digest == digest_of(token), *good)
            ).one_or_none()
        return None if row is None else _key_of(row)

    def sign_out(self, token: str) -> None:
        with self._write() as conn:
            conn.execute(sessions.delete().where(sessions.c.digest == digest_of(token)))


def _key_of(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        tenant=row.tenant,
        role=Role(row.role),
        digest=row.digest,
        note=row.note,
        created=moment(row.created),
        revoked=None if row.revoked is None else moment(row.revoked),
    )
