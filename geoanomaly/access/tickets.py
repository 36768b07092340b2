"""A ticket opens the tiles of one job for a while, where no key can be sent: in a sandboxed frame,
in QGIS. It is signed with the digest of a key, so it dies with that key and is kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable

from geoanomaly.access.keys import Key

TICKET_SECONDS = 7 * 24 * 3600
"""The longest that a ticket may be good for."""

FORM = re.compile(r"([0-9a-f]{12})\.(\d{1,12})\.([0-9a-f]{64})")


def ticket_for(key: Key, job_id: str, seconds: int, now: float | None = None) -> str:
    """Good for `seconds` at least, and up to half as long again: tickets of one hour are alike,
    so that a browser finds the tiles that it has under the same address."""
    step = max(1, seconds // 2)
    expires = (int(time.time() if now is None else now) // step + 1) * step + seconds
    return f"{key.id}.{expires}.{_signature(key, job_id, expires)}"


def open_ticket(
    text: str, job_id: str, find: Callable[[str], Key | None], now: float | None = None
) -> Key | None:
    """The key that signed the ticket for this job, while both are good."""
    form = FORM.fullmatch(text)
    if form is None:
        return None
    expires, moment = int(form[2]), time.time() if now is None else now
    key = find(form[1]) if moment < expires <= moment + 2 * TICKET_SECONDS else None
    if key is None or not hmac.compare_digest(form[3], _signature(key, job_id, expires)):
        return None
    return key


def _signature(key: Key, job_id: str, expires: int) -> str:
    text = f"tiles of {job_id} until {expires}"
    return hmac.new(bytes.fromhex(key.digest), text.encode(), hashlib.sha256).hexdigest()
