"""Scenes from addresses: fetched from listed public hosts, and from nowhere else."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from geoanomaly.errors import SceneError
from geoanomaly.intake import fetch as module
from geoanomaly.intake.fetch import fetch, is_public
from geoanomaly.intake.taken import remote_scene, take_in_all
from geoanomaly.settings import Settings
from geoanomaly.types import JobSpec, Process, Scene, silent
from tests.hostile.addresses import LOOPBACK, spellings
from tests.hostile.servers import LISTED, Listener, Site, body, https_site, listening, redirect
from tests.web.backend import fake_check, ground, serving, write_raster
from web.app import create_app
from web.inputs import inputs_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data", allowed_hosts=(LISTED,), fetch_seconds=20,
        max_upload_bytes=3_000_000,
    )  # fmt: skip


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name leads to this machine: the worst that a name server could say."""

    async def resolve(host: str, _: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            return ["127.0.0.1"]

    monkeypatch.setattr(module, "resolve", resolve)


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A listed server, whose address passes for a public one."""
    request.getfixturevalue("here")
    monkeypatch = request.getfixturevalue("monkeypatch")
    with https_site(tmp_path) as found:
        monkeypatch.setattr(module, "is_public", lambda text: text == "127.0.0.1")
        monkeypatch.setattr(module, "PORT", found.port)
        monkeypatch.setattr(module, "tls", lambda: found.trust)
        yield found


def refusal(url: str, settings: Settings) -> str:
    with pytest.raises(SceneError) as caught:
        fetch(url, settings.data_dir, settings, field="scene")
    assert caught.value.field == "scene"
    return str(caught.value)


def test_a_scene_is_fetched_and_taken_in_once(
    site: Site, settings: Settings, tmp_path: Path
) -> None:
    content = write_raster(tmp_path / "a.tif", ground(1, 2)).read_bytes()
    site.replies["/b/a.tif?key=1"] = body(content, ETag="1")
    url = site.url("/b/a.tif?key=1")
    scene = remote_scene(url, None, settings, field="scene")
    assert (scene.title, scene.origin) == ("a.tif", url)
    assert Path(scene.href).parent == settings.taken_dir
    assert [path.name for path in settings.taken_dir.iterdir()] == [Path(scene.href).name]
    assert {host for host, _ in site.asked} == {LISTED}, "the name, though the address was dialled"
    asked = len(site.asked)
    assert remote_scene(url, None, settings, field="scene") == scene
    assert len(site.asked) == asked + 1, "only its version"
    Path(scene.href).unlink()
    take_in_all(JobSpec(Process.DETECT_ANOMALY, (scene,)), settings, silent)
    assert Path(scene.href).is_file()
    site.replies["/b/a.tif?key=1"] = body(content, ETag="2")
    assert remote_scene(url, None, settings, field="scene") != scene


def test_an_asset_of_a_stac_item(site: Site, settings: Settings, tmp_path: Path) -> None:
    content = write_raster(tmp_path / "a.tif", ground(1, 1)).read_bytes()
    assets = {"visual": {"href": "./a.tif"}, "far": {"href": "s3://bucket/a.tif"}, "odd": 3}
    site.replies["/items/1"] = body(json.dumps({"assets": assets}).encode())
    site.replies["/items/a.tif"] = body(content, Last_Modified="today")
    item = site.url("/items/1")
    found = remote_scene(item, "visual", settings, field="scene")
    assert found.origin == site.url("/items/a.tif")
    for asset, words in (("far", "only https"), ("odd", "no asset"), ("none", "far, odd, visual")):
        with pytest.raises(SceneError, match=words):
            remote_scene(item, asset, settings, field="scene")
    site.replies["/items/1"] = body(b"[]")
    with pytest.raises(SceneError, match="no STAC item"):
        remote_scene(item, "visual", settings, field="scene")


def test_what_is_no_raster_is_refused_in_the_sandbox(site: Site, settings: Settings) -> None:
    site.replies["/a.tif"] = body(b"<VRTDataset/>", ETag="1")
    with pytest.raises(SceneError, match="not a GeoTIFF"):
        remote_scene(site.url("/a.tif"), None, settings, field="scene")
    assert list(settings.taken_dir.iterdir()) == []


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        time.sleep(0.1)
        handler.wfile.write(b"x")


def test_servers_that_misbehave(site: Site, settings: Settings) -> None:
    big = bytes(4_000_000)

    def unannounced(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(big)

    site.replies |= {
        "/big": body(big),
        "/unannounced": unannounced,
        "/packed": body(b"\x1f\x8b", Content_Encoding="gzip"),
        "/gone": lambda handler: handler.send_error(404),
        "/loop": redirect("/loop"),
        "/drip": drip,
    }
    settings.data_dir.mkdir()
    brief = settings.model_copy(update={"fetch_seconds": 0.5})
    target = settings.data_dir / "x"
    for path, words, chosen in (
        ("/big", "3,000,000 bytes", settings),
        ("/unannounced", "3,000,000 bytes", settings),
        ("/packed", "not asked for", settings),
        ("/gone", "404", settings),
        ("/loop", "more than 3 times", settings),
        ("/drip", "more than 0.5 s", brief),
    ):
        with pytest.raises(SceneError, match=words):
            fetch(site.url(path), target, chosen, field="scene")
    assert [path for _, path in site.asked].count("/loop") == 4


def test_a_certificate_must_be_of_the_name(
    site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_is_listed", lambda *_: True)
    assert "CERTIFICATE" in refusal(f"https://other.example:{site.port}/a.tif", settings).upper()


def test_redirects_lead_nowhere_else(site: Site, settings: Settings, listener: Listener) -> None:
    settings.data_dir.mkdir()
    port = listener.port
    for host in LOOPBACK:
        for target in (f"https://{host}:{port}/", f"http://{host}:{port}/", f"//{host}:{port}/"):
            site.replies["/away"] = redirect(target.encode("ascii", "replace").decode())
            refusal(site.url("/away"), settings)
    assert listener.hits == 0


@pytest.mark.parametrize("host", [text.strip("[]") for text in LOOPBACK if text[:1] in "[1"])
def test_addresses_of_this_machine_and_its_networks_are_not_public(host: str) -> None:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return  # another spelling, which the resolver would turn into one of the others
    assert not is_public(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "151.101.1.1"])
def test_addresses_of_the_internet_are_public(host: str) -> None:
    assert is_public(host)


def ask(settings: Settings, urls: list[str]) -> list[Any]:
    """Price requests through the real HTTP service."""
    app = create_app(settings, check=fake_check)
    with serving(app) as address, httpx.Client(base_url=address, timeout=30) as http:
        bodies = [{"inputs": {"scene": {"href": url}}} for url in urls]
        return [http.post("/processes/detect-anomaly/price", json=each) for each in bodies]


@pytest.mark.usefixtures("here")
def test_no_spelling_of_an_address_is_asked(
    settings: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with the port that is allowed nor with that of the listener."""
    urls = list(dict.fromkeys(spellings(LISTED, listener.port)))
    assert len(urls) >= 300
    for port, tried in ((listener.port, urls), (443, urls[::5])):
        monkeypatch.setattr(module, "PORT", port)
        answers = ask(settings, tried)
        assert {each.status_code for each in answers} == {400}
        assert {each.json()["field"] for each in answers} == {"scene"}
    assert listener.hits == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("guard", ["is_public", "_is_listed"])
def test_without_a_guard_the_listener_is_asked(
    guard: str, settings: Settings, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two guards is needed: the list of hosts, and the check of what a name means."""
    monkeypatch.setattr(module, "PORT", listener.port)
    url = f"https://{LISTED}:{listener.port}/a.tif"
    if guard == "_is_listed":
        # Somebody else's public server, as far as the other guard can tell.
        url = url.replace(LISTED, "evil.example")
        monkeypatch.setattr(module, "is_public", lambda _: True)
    ask(settings, [url])
    assert listener.hits == 0
    monkeypatch.setattr(module, guard, lambda *_: True)
    ask(settings, [url])
    assert listener.hits > 0


def test_nobody_is_asked_unless_listed(settings: Settings) -> None:
    nobody = settings.model_copy(update={"allowed_hosts": ()})
    assert "(none; GEOANOMALY_ALLOWED_HOSTS" in refusal(f"https://{LISTED}/a.tif", nobody)
    below = settings.model_copy(update={"allowed_hosts": (".example.com",)})
    for host in ("example.com", "evilexample.com", "example.com.evil.org"):
        assert "not among the hosts" in refusal(f"https://{host}/a.tif", below)


def test_a_request_can_be_repeated_from_its_job(settings: Settings) -> None:
    url = f"https://{LISTED}/a.tif"
    scene = Scene(str(settings.taken_dir / "x.tif"), origin=url)
    spec = JobSpec(Process.DETECT_ANOMALY, (scene,))
    assert inputs_of(spec, settings.scenes_dir)["scene"] == {"href": url}
