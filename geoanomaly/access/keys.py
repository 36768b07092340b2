"""Keys, roles, and who a request comes from. No I/O."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from geoanomaly.errors import ParameterError

TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
TOKEN = re.compile(r"ga_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
"""What a key looks like: a prefix that scanners of leaked secrets find, id, 256 bits."""


class Role(StrEnum):
    """Each may what the one before it may. ADMIN sees what others own, and /metrics."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Key:
    """What is kept of a key. digest: SHA-256 of it, in hex; revoked: None while it is good."""

    id: str
    tenant: str
    role: Role
    digest: str
    note: str
    created: datetime
    revoked: datetime | None = None


@dataclass(frozen=True)
class NewKey:
    """token: to be shown once, and to be kept nowhere."""

    token: str
    id: str
    digest: str

    @classmethod
    def make(cls) -> Self:
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        token = f"ga_{key_id}_{secret}"
        return cls(token, key_id, digest_of(token))


@dataclass(frozen=True)
class Principal:
    """Who asks. key: None where nobody needs one; tenant: whose things they are."""

    tenant: str
    role: Role
    key: Key | None = None

    @property
    def sees_all(self) -> bool:
        return self.role is Role.ADMIN


ANYBODY = Principal("", Role.ADMIN)
"""Where no key is needed, everybody is the operator."""


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def known_tenant(name: str) -> str:
    """The same name, or ParameterError: it becomes the name of a folder."""
    if not TENANT.fullmatch(name):
        raise ParameterError(
            f"{name!r} cannot name an owner: use 1 to 63 of a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or digit.",
            field="owner",
        )
    return name
