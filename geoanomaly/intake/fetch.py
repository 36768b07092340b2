"""A raster from an address on the internet becomes a file here; GDAL never opens an address.

https only, to hosts that the operator has listed. A name is resolved once, every address
that it has must be a public one, and the connection goes to an address that was checked:
a name that answers differently the second time gains nothing. Redirects are followed by
hand, each one checked like the first address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from geoanomaly.errors import SceneError
from geoanomaly.settings import Settings

MAX_REDIRECTS = 3
MAX_ITEM_BYTES = 2 * 2**20
MAX_URL = 4096
PORT = 443
REDIRECTS = (301, 302, 303, 307, 308)
QUIET_SECONDS = 15.0
"""A server that says nothing for so long is given up."""

Found = TypeVar("Found")

# What `is_global` does not know: IPv6 addresses that carry an IPv4 address to which a gateway
# would go, and local networks (the last ones: services of clouds' own machines).
_INNER = tuple(
    ipaddress.ip_network(text)
    for text in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
                 "2002::/16", "2001::/32", "fec0::/10", "5f00::/16", "3fff::/20",
                 "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a URL leads. host: as it is written in certificates."""

    url: str
    host: str
    port: int


def fetch(url: str, path: Path, settings: Settings, *, field: str) -> None:
    """Write what is at `url` to `path`; SceneError when that may not or cannot be done."""
    _run(_save(url, path, settings, field), settings, url, field)


def version_of(url: str, settings: Settings, *, field: str) -> str | None:
    """What changes when the content does; None = the server does not say."""
    return _run(_version(url, settings, field), settings, url, field)


def asset_href(url: str, asset: str, settings: Settings, *, field: str) -> str:
    """The address of an asset of the STAC item at `url`."""
    text = _run(_text(url, settings, field), settings, url, field)
    try:
        assets = json.loads(text)["assets"]
        names = ", ".join(sorted(assets)[:20])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SceneError(f"{url} is no STAC item: it has no assets.", field=field) from None
    try:
        href = assets[asset]["href"]
        return urljoin(url, str(href))
    except (KeyError, TypeError, ValueError):
        raise SceneError(f"{url} has no asset {asset!r}. It has: {names}.", field=field) from None


def place(url: str, settings: Settings, *, field: str) -> Place:
    """Where a URL leads, or SceneError unless it is https to a listed host."""
    listed = ", ".join(settings.allowed_hosts) or "none"
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").encode("idna").decode("ascii").lower()
        port = parts.port or PORT
    except ValueError:
        raise _refused(url, "it cannot be understood", field) from None
    # Where two parsers could disagree on the host, neither is asked.
    if len(url) > MAX_URL or not url.isprintable() or any(sign in url for sign in " \\\t"):
        raise _refused(url, f"it has signs that do not belong there, or over {MAX_URL}", field)
    if parts.scheme != "https":
        raise _refused(url, "only https:// is fetched", field)
    if "@" in parts.netloc:
        raise _refused(url, "a name or password has no place in it", field)
    if port != PORT or not _is_listed(host, settings.allowed_hosts):
        where = f"{host}:{port}" if port != PORT else host
        raise _refused(
            url,
            f"{where!r} is not among the hosts that may be asked ({listed}; "
            "GEOANOMALY_ALLOWED_HOSTS sets them). Download it and upload it instead",
            field,
        )
    return Place(url, host, port)


def _is_listed(host: str, listed: Sequence[str]) -> bool:
    """`.example.com` stands for all names below example.com."""
    return any(
        host.endswith(each.lower()) if each.startswith(".") else host == each.lower()
        for each in listed
    )


def _refused(url: str, why: str, field: str) -> SceneError:
    shown = url if len(url) < 200 else f"{url[:200]}..."
    return SceneError(f"{shown!r} is not fetched: {why}.", field=field)


def is_public(text: str) -> bool:
    """May a server at this address be asked? Nothing of this machine or its networks."""
    found = ipaddress.ip_address(text.partition("%")[0])
    if any(found in network for network in _INNER):
        return False
    return found.is_global and not (
        found.is_multicast or found.is_reserved or found.is_private or found.is_unspecified
    )


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, as the system gives them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def _address(where: Place, field: str) -> str:
    """The one address to connect to. One private address among several condemns the name."""
    try:
        found = await resolve(where.host, where.port)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise _refused(where.url, f"{where.host} has no address", field)
    for each in found:
        if not is_public(each):
            raise _refused(
                where.url, f"{where.host} is at {each}, which is no public address", field
            )
    return found[0]


@asynccontextmanager
async def _answer(url: str, settings: Settings, field: str) -> AsyncIterator[httpx.Response]:
    """The answer behind all redirects, its body not read yet."""
    # trust_env: no proxy and no password of the environment is for strangers' servers.
    async with httpx.AsyncClient(trust_env=False, timeout=QUIET_SECONDS, verify=tls()) as client:
        for _ in range(MAX_REDIRECTS + 1):
            where = place(url, settings, field=field)
            request = _pinned(client, where, await _address(where, field))
            answer = await client.send(request, stream=True)
            try:
                if answer.status_code in REDIRECTS and "location" in answer.headers:
                    url = urljoin(url, answer.headers["location"])
                    continue
                _check_answer(answer, url, settings, field)
                yield answer
                return
            finally:
                await answer.aclose()
    raise _refused(url, f"it redirects more than {MAX_REDIRECTS} times", field)


def _pinned(client: httpx.AsyncClient, where: Place, address: str) -> httpx.Request:
    """To the address itself, with the name where TLS and HTTP want it."""
    host = f"[{address}]" if ":" in address else address
    parts = urlsplit(where.url)
    target = f"https://{host}:{where.port}{parts.path or '/'}"
    if parts.query:
        target += f"?{parts.query}"
    # identity: what is counted is what arrives, and nothing unpacks to more.
    headers = {"Host": where.host, "Accept-Encoding": "identity", "User-Agent": "geoanomaly"}
    return client.build_request(
        "GET", target, headers=headers, extensions={"sni_hostname": where.host}
    )


def tls() -> Any:
    """How certificates are checked: by the authorities that httpx trusts."""
    return httpx.create_ssl_context(trust_env=False)


def _check_answer(answer: httpx.Response, url: str, settings: Settings, field: str) -> None:
    if answer.status_code != 200:
        raise _refused(url, f"the server answers {answer.status_code}", field)
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise _refused(url, "the server packs it in a way that was not asked for", field)
    length = answer.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > settings.max_upload_bytes:
        raise _too_large(url, settings.max_upload_bytes, field)


def _too_large(url: str, limit: int, field: str) -> SceneError:
    return _refused(
        url, f"it has more than {limit:,} bytes (GEOANOMALY_MAX_UPLOAD_BYTES). Cut it", field
    )


async def _save(url: str, path: Path, settings: Settings, field: str) -> None:
    async with _answer(url, settings, field) as answer:
        with path.open("wb") as target:
            async for part in _parts(answer, settings.max_upload_bytes, url, field):
                target.write(part)


async def _parts(answer: httpx.Response, limit: int, url: str, field: str) -> AsyncIterator[bytes]:
    seen = 0
    async for part in answer.aiter_raw(1024 * 1024):
        seen += len(part)
        if seen > limit:
            raise _too_large(url, limit, field)
        yield part


async def _text(url: str, settings: Settings, field: str) -> bytes:
    async with _answer(url, settings, field) as answer:
        return b"".join([part async for part in _parts(answer, MAX_ITEM_BYTES, url, field)])


async def _version(url: str, settings: Settings, field: str) -> str | None:
    # Not HEAD, which signed addresses of object stores refuse. The body stays unread.
    async with _answer(url, settings, field) as answer:
        said = [answer.headers.get(name, "") for name in ("etag", "last-modified")]
        known = "\0".join([*said, answer.headers.get("content-length", "")])
        return known if any(said) else None


def _run(work: Coroutine[Any, Any, Found], settings: Settings, url: str, field: str) -> Found:
    """To its end within the time, however slowly the server drips."""

    async def timed() -> Found:
        async with asyncio.timeout(settings.fetch_seconds):
            return await work

    try:
        return asyncio.run(timed())
    except TimeoutError:
        limit = f"it took more than {settings.fetch_seconds:g} s (GEOANOMALY_FETCH_SECONDS)"
        raise _refused(url, limit, field) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, OSError) as error:
        raise _refused(url, f"{type(error).__name__}: {error}", field) from None
