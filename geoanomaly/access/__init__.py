"""Who may ask for what: API keys, sign-ins of the pages, and tickets for the tiles of one job.

A key is 256 random bits behind a short public id. The database has only its SHA-256,
so that whoever reads the database or a backup of it cannot use the service.
"""

from geoanomaly.access.keys import Key, NewKey, Principal, Role
from geoanomaly.access.store import KeyStore
from geoanomaly.access.tickets import TICKET_SECONDS, open_ticket, ticket_for

__all__ = [
    "TICKET_SECONDS",
    "Key",
    "KeyStore",
    "NewKey",
    "Principal",
    "Role",
    "open_ticket",
    "ticket_for",
]
