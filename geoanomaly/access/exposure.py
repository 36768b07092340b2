"""Whether keys are needed: nobody but its user reaches a loopback address."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from geoanomaly.errors import ServiceError
from geoanomaly.settings import Settings

if TYPE_CHECKING:
    from geoanomaly.access.store import KeyStore

CREATE = "`geoanomaly keys create OWNER --role submit`"


def is_loopback(host: str) -> bool:
    """Of an address or a name to listen on or to be called by."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def exposed(settings: Settings, host: str) -> Settings:
    """The settings with which a service may listen on `host`.

    ServiceError where everybody who reaches it could do everything, or where an owner's uploads
    would be readable by path.
    """
    if not is_loopback(host):
        if settings.access is False:
            raise ServiceError(
                f"Whoever reaches {host} could read and run everything: GEOANOMALY_ACCESS is off. "
                f"Unset it and make a key with {CREATE}, or listen on 127.0.0.1."
            )
        settings = settings.model_copy(update={"access": True})
    if settings.access:
        _check_roots(settings)
    return settings


def check_keys(keys: KeyStore) -> None:
    """ServiceError when keys are needed and there is none."""
    if all(key.revoked for key in keys.list()):
        raise ServiceError(
            f"Requests need a key here, and there is none yet. Make one first: {CREATE} (with "
            "--data-dir or GEOANOMALY_DATABASE_URL as for `serve`), or listen on 127.0.0.1."
        )


def _check_roots(settings: Settings) -> None:
    data = settings.data_dir.resolve()
    for root in settings.scene_roots:
        folder = root.resolve()
        if data.is_relative_to(folder) or folder.is_relative_to(data):
            raise ServiceError(
                f"GEOANOMALY_SCENE_ROOTS has {root}, and the data folder {data} is inside it or "
                "around it: owners could read each other's uploads by path. Separate the two."
            )
