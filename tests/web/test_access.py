"""Who may do what: every route, for every kind of caller, and what each of them sees."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from geoanomaly.access.keys import Role
from geoanomaly.access.store import KeyStore
from geoanomaly.access.tickets import ticket_for
from geoanomaly.jobs import JobStore
from geoanomaly.settings import Settings
from geoanomaly.types import Job, JobSpec, Price
from tests.web import backend as module
from tests.web.backend import Backend, running_backend, write_raster
from tests.web.test_problems import assert_problem
from web.app import create_app

SECRET = "alices-secret-scene"
TILE = "11/1075/713"


@dataclass
class House:
    """A service that asks for keys, with one finished job, one scene and one model of alice."""

    backend: Backend
    keys: KeyStore
    tokens: dict[str, str]
    ids: dict[str, str]
    job: Job
    scene: str

    def ask(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.tokens[who]}"} if who in self.tokens else {}
        headers = {**sent, **options.pop("headers", {})}
        with httpx.Client(base_url=self.backend.url, timeout=30) as client:
            return client.request(method, path, headers=headers, **options)

    def revoke(self, who: str) -> None:
        self.keys.revoke(self.ids[who])

    def fresh_key(self, tenant: str = "alice", role: Role = Role.SUBMIT) -> str:
        made = self.keys.create(tenant, role)
        self.tokens[made.id], self.ids[made.id] = made.token, made.id
        return made.id


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running_backend(tmp_path_factory.mktemp("keys"), access=True) as backend:
        keys = KeyStore(backend.store.database)
        people = {
            "reader": ("alice", Role.READ), "alice": ("alice", Role.SUBMIT),
            "bob": ("bob", Role.SUBMIT), "operator": ("op", Role.ADMIN),
            "revoked": ("alice", Role.ADMIN),
        }  # fmt: skip
        made = {who: keys.create(*what) for who, what in people.items()}
        tokens = {who: key.token for who, key in made.items()}
        tokens["bad"] = tokens["alice"][:-1] + ("A" if tokens["alice"][-1] != "A" else "B")
        keys.revoke(made["revoked"].id)
        mine = replace(backend, store=backend.store.on_behalf_of("alice"))
        job = mine.finished_pair()
        folder = backend.settings.of_tenant("alice").models_dir / "meadow"
        folder.mkdir(parents=True)
        (folder / "model.json").write_text('{"sensor": "generic", "bands": ["a"]}')
        ids = {who: key.id for who, key in made.items()}
        found = House(backend, keys, tokens, ids, job, "")
        path = write_raster(Path(mine.settings.data_dir) / "up.tif", module.ground(5, bands=3))
        files = {"file": (f"{SECRET}.tif", path.read_bytes())}
        found.scene = found.ask("alice", "POST", "/scenes", files=files).json()["id"]
        yield found


# The matrix.

PUBLIC = {
    ("GET", "/"), ("GET", "/conformance"), ("GET", "/api"), ("GET", "/healthz"),
    ("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-out"), (None, "/static"),
}  # fmt: skip
OPERATORS = {("GET", "/metrics")}
SHARED = {("GET", "/processes"), ("GET", "/processes/{process_id}"), ("GET", "/ui")}
"""Alike for everybody who has a key."""
LISTS = {("GET", "/jobs"), ("GET", "/scenes"), ("GET", "/models")}
NEW = {
    ("POST", "/processes/{process_id}/price"), ("POST", "/processes/{process_id}/execution"),
    ("POST", "/scenes"), ("POST", "/areas"),
}  # fmt: skip
VALUES = {
    "process_id": "detect-change", "layer": "heatmap", "tileMatrixSetId": "WebMercatorQuad",
    "name": "heatmap.tif", "key": "100-100", "format": "png", "lon": "9.06", "lat": "47.83",
    "z": TILE.split("/")[0], "x": TILE.split("/")[1], "y": TILE.split("/")[2],
}  # fmt: skip
QUERIES = {
    "/jobs/{job_id}/tiles/{layer}/chip.png": "?bounds=503000,5295000,504000,5296000",
    "/jobs/{job_id}/tiles/{layer}/ranges": "?bidx=1",
    "/jobs/{job_id}/point": "?x=9.06&y=47.83",
}


def routes() -> list[tuple[str | None, str]]:
    app = create_app(Settings(), check=module.fake_check)
    app.state.service.store.close()
    return sorted(
        {
            (method, str(route.path))
            for route in iter_route_contexts(app.routes)
            for method in (route.methods or {None})
        },
        key=str,
    )


def request_of(house: House, method: str, path: str) -> tuple[str, dict[str, Any]]:
    values = {**VALUES, "job_id": house.job.id, "scene_id": house.scene}
    options: dict[str, Any] = {}
    if path.startswith("/processes/") and method == "POST":
        before, after = house.backend.pair()
        inputs = {"before": {"href": str(before)}, "after": {"href": str(after)}}
        options["json"] = {"inputs": inputs}
    elif path == "/scenes" and method == "POST":
        folder = house.backend.settings.data_dir
        sent = write_raster(folder / "sent.tif", module.ground(6, bands=1)).read_bytes()
        options["files"] = {"file": ("sent.tif", sent)}
    elif path == "/areas":
        area = {"type": "Polygon", "coordinates": [[[9, 47], [10, 47], [10, 48], [9, 47]]]}
        options["files"] = {"file": ("a.geojson", json.dumps(area).encode())}
    elif method == "PUT":
        options["json"] = {"verdict": "confirmed"}
    elif method == "POST" and path.endswith("/statistics"):
        options["json"] = {
            "type": "Feature", "properties": {},
            "geometry": module.square(crs=module.CRS),
        }  # fmt: skip
    return path.format(**values) + QUERIES.get(path, ""), options


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_route_for_every_caller(house: House, method: str | None, path: str) -> None:
    if (method, path) in PUBLIC:
        return
    assert method is not None, f"{path} is neither a route nor public"
    url, options = request_of(house, method, path)
    kind = (method, path)
    owned = "{job_id}" in path or "{scene_id}" in path
    assert owned or kind in OPERATORS | SHARED | LISTS | NEW, f"no rule for {kind}"

    def status(who: str) -> int:
        answer = house.ask(who, method, url, **options)
        if who != "operator" and who != "alice" and who != "reader":
            assert SECRET not in answer.text
            assert "placed-after" not in answer.text or kind in NEW
        if answer.status_code >= 400:
            assert_problem(answer, answer.status_code, answer.json().get("field"))
        return answer.status_code

    for who in ("nobody", "bad", "revoked"):
        assert status(who) == 401, who
    if kind in OPERATORS:
        assert [status(who) for who in ("reader", "alice", "bob")] == [403] * 3
        assert status("operator") == 200
        return
    # A change is made last, by those who may.
    assert status("bob") == (404 if owned else status("alice")), "another owner"
    assert status("reader") == (status("alice") if method == "GET" else 403)
    assert status("alice") < 400
    assert status("operator") < 400


def test_public_pages_say_nothing_of_anybody(house: House) -> None:
    for method, path in PUBLIC:
        if method == "GET":
            answer = house.ask("nobody", method, path)
            assert answer.status_code == 200, path
            assert SECRET not in answer.text
            assert house.job.id not in answer.text


def test_lists_and_counts_are_ones_own(house: House) -> None:
    def ids(who: str, path: str, key: str, name: str) -> set[str]:
        return {each[name] for each in house.ask(who, "GET", path).json()[key]}

    assert house.job.id in ids("alice", "/jobs", "jobs", "jobID")
    assert house.job.id in ids("operator", "/jobs?limit=1000", "jobs", "jobID")
    assert house.job.id not in ids("bob", "/jobs", "jobs", "jobID")
    assert ids("alice", "/scenes", "scenes", "title") >= {f"{SECRET}.tif"}
    assert f"{SECRET}.tif" not in ids("bob", "/scenes", "scenes", "title")
    assert ids("alice", "/models", "models", "name") == {"meadow"}
    assert ids("bob", "/models", "models", "name") == set()
    carol = house.fresh_key("carol")
    assert sum(house.ask(carol, "GET", "/jobs").json()["counts"].values()) == 0
    found = house.ask(carol, "GET", f"/jobs?q={house.job.id}").json()["jobs"]
    assert found == []


def test_without_its_guard_the_job_of_another_is_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the matrix proves is proven by the scope of the store, and by nothing else."""
    assert house.ask("bob", "GET", f"/jobs/{house.job.id}").status_code == 404
    monkeypatch.setattr(JobStore, "on_behalf_of", lambda self, *_, **__: self)
    assert house.ask("bob", "GET", f"/jobs/{house.job.id}").status_code == 200


# Inside a request.


def execute(house: House, who: str, inputs: dict[str, Any], **headers: str) -> httpx.Response:
    path = "/processes/detect-anomaly/execution"
    return house.ask(who, "POST", path, json={"inputs": inputs}, headers=headers)


def test_a_job_may_name_ones_own_scenes_only(house: House) -> None:
    stored = house.backend.store.get_scene(house.scene).path
    detail = assert_problem(execute(house, "bob", {"scene": house.scene}), 400, "scene")
    assert "no scene" in detail
    assert_problem(execute(house, "bob", {"scene": {"href": stored}}), 400, "scene")
    assert execute(house, "alice", {"scene": house.scene}).status_code == 201


def test_an_idempotency_key_is_its_owners(house: House) -> None:
    inputs = {"scene": {"href": str(house.backend.pair()[0])}}
    answers = [
        execute(house, who, inputs, **{"Idempotency-Key": "k1"}).json()["jobID"]
        for who in ("alice", "alice", "bob", "operator")
    ]
    assert answers[0] == answers[1]
    assert len(set(answers)) == 3


def test_a_model_is_its_owners(tmp_path: Path) -> None:
    """What a job learns or uses lies in the folder of who asked, and nowhere else."""
    seen: list[tuple[str | None, Path]] = []

    def check(spec: JobSpec, settings: Settings) -> Price:
        seen.append((spec.model, settings.models_dir))
        return module.verdict(spec, settings)

    roots = (tmp_path / "archive",)
    path = write_raster(roots[0] / "a.tif", module.ground(1, bands=1))
    settings = Settings(data_dir=tmp_path / "data", scene_roots=roots, access=True)
    app = create_app(settings, check=check, ring=lambda *_: True)
    keys = KeyStore(app.state.service.store.database)
    with module.serving(app) as url:
        for owner in ("alice", "bob"):
            body = {"inputs": {"scene": {"href": str(path)}, "model": "meadow"}}
            headers = {"Authorization": f"Bearer {keys.create(owner, Role.SUBMIT).token}"}
            address = f"{url}/processes/detect-anomaly/execution"
            answer = httpx.post(address, json=body, headers=headers)
            assert answer.status_code == 201
            assert app.state.service.store.get(answer.json()["jobID"]).tenant == owner
    root = settings.data_dir / "tenants"
    assert seen == [("meadow", root / owner / "models") for owner in ("alice", "bob")]


def test_the_operator_retries_in_the_name_of_the_owner(house: House) -> None:
    again = house.ask("operator", "POST", f"/jobs/{house.job.id}/retry").json()["jobID"]
    assert house.backend.store.get(again).tenant == "alice"
    assert house.ask("alice", "GET", f"/jobs/{again}").status_code == 200


def test_quotas(tmp_path: Path) -> None:
    limits = {"quota_jobs": 2, "quota_pixels": 300_000, "quota_bytes": 10**6}
    with running_backend(tmp_path, access=True, **limits) as backend:
        keys = KeyStore(backend.store.database)
        made = {who: keys.create(who, Role.SUBMIT).token for who in ("alice", "bob", "carol")}
        house = House(backend, keys, made, {}, None, "")  # type: ignore[arg-type]
        inputs = {"scene": {"href": str(backend.pair()[0])}}
        jobs = [execute(house, "alice", inputs).json()["jobID"] for _ in range(2)]
        answer = execute(house, "alice", inputs)
        assert "limit is 2" in assert_problem(answer, 429)
        assert answer.headers["retry-after"] == "60"
        assert assert_problem(house.ask("alice", "POST", f"/jobs/{jobs[0]}/retry"), 429)
        assert execute(house, "bob", inputs).status_code == 201
        for job in jobs:
            house.ask("alice", "DELETE", f"/jobs/{job}")
        assert execute(house, "alice", inputs).status_code == 201
        answer = execute(house, "alice", inputs)
        assert "24 hours" in assert_problem(answer, 429)
        assert 86_000 < int(answer.headers["retry-after"]) <= 86_400

        big = write_raster(backend.settings.data_dir / "big.tif", module.ground(1)).read_bytes()
        files = {"file": ("big.tif", big)}
        kept = list(backend.settings.scenes_dir.glob("*"))
        detail = assert_problem(house.ask("carol", "POST", "/scenes", files=files), 403)
        assert "1,000,000" in detail
        assert list(backend.settings.scenes_dir.glob("*")) == kept, "what was refused is gone"
        small = write_raster(backend.settings.data_dir / "s.tif", module.ground(1, bands=1))
        files = {"file": ("s.tif", small.read_bytes())}
        assert house.ask("carol", "POST", "/scenes", files=files).status_code == 201


# Bodies.


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/processes/detect-change/execution", 32 * 2**20),
        ("POST", "/processes/detect-change/price", 32 * 2**20),
        ("POST", "/areas", 32 * 2**20 + 64 * 1024),
        ("POST", "/scenes", 4_000_000 + 64 * 1024),
        ("PUT", "/jobs/{job}/judgements/1-1", 64 * 1024),
        ("POST", "/jobs/{job}/retry", 64 * 1024),
        ("DELETE", "/jobs/{job}", 64 * 1024),
        ("POST", "/jobs/{job}/tiles/heatmap/statistics", 64 * 1024),
        ("POST", "/sign-in", 64 * 1024),
        ("POST", "/sign-out", 64 * 1024),
        ("GET", "/jobs", 64 * 1024),
    ],
)
def test_bodies_have_a_limit(house: House, method: str, path: str, limit: int) -> None:
    path = path.format(job=house.job.id)
    assert announced(house, "alice", method, path, limit + 1)[0] == 413


def announced(house: House, who: str, method: str, path: str, length: int) -> tuple[int, str]:
    """Status and text of the answer to a body that is announced and never sent."""
    link = http.client.HTTPConnection(httpx.URL(house.backend.url).netloc.decode(), timeout=20)
    link.putrequest(method, path)
    link.putheader("Content-Length", str(length))
    link.putheader("Content-Type", "multipart/form-data; boundary=x")
    if who in house.tokens:
        link.putheader("Authorization", f"Bearer {house.tokens[who]}")
    link.endheaders()
    answer = link.getresponse()
    found = answer.status, answer.read().decode()
    link.close()
    return found


def test_a_body_without_a_length_is_counted(house: House) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"verdict": "confirmed", "note": "'
        for _ in range(70):
            yield b"x" * 1024
        yield b'"}'

    path = f"/jobs/{house.job.id}/judgements/1-1"
    headers = {"Content-Type": "application/json"}
    answer = house.ask("alice", "PUT", path, headers=headers, content=endless())
    assert "65,536" in assert_problem(answer, 413)


def test_nobody_sends_a_body_without_a_key(house: House) -> None:
    """The answer comes before the body: nobody waits for what was announced."""
    for path in ("/scenes", "/areas", "/processes/detect-change/execution"):
        status, text = announced(house, "nobody", "POST", path, 1000)
        assert (status, "Authorization: Bearer" in text) == (401, True)
    answer = house.ask("nobody", "GET", "/jobs")
    assert answer.headers["www-authenticate"] == "Bearer"


# Headers.


@pytest.mark.parametrize(
    "path",
    [
        "/healthz", "/jobs", "/jobs/none", "/nothing/here", "/ui", "/sign-in", "/static/app.css",
        "/jobs/{job}/frame", "/jobs/{job}/map", "/jobs/{job}/files/heatmap.tif",
        "/jobs/{job}/tiles/heatmap/preview.png",
    ],
)  # fmt: skip
def test_every_answer_has_its_headers(house: House, path: str) -> None:
    for who in ("alice", "nobody"):
        headers = house.ask(who, "GET", path.format(job=house.job.id)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
        assert "frame-ancestors" in headers["content-security-policy"]
        assert "unsafe-inline" not in headers["content-security-policy"].replace(
            "style-src-attr 'unsafe-inline'", ""
        )
        assert headers["cross-origin-opener-policy"] == "same-origin"
        own = "cross-origin" if "/tiles/" in path or "/static/" in path else "same-origin"
        assert headers["cross-origin-resource-policy"] == own
        assert "strict-transport-security" not in headers, "not over http"
        assert not [name for name in headers if name.startswith("access-control-")]


def test_over_https_it_stays_https(house: House) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    answer = house.ask("nobody", "GET", "/healthz", headers=headers)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_an_unexpected_error_has_its_headers_and_no_reason(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("/etc/secret")

    monkeypatch.setattr(JobStore, "list", broken)
    answer = house.ask("alice", "GET", "/jobs")
    assert "/etc/secret" not in assert_problem(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"


# Pages.


@pytest.fixture
def person(house: House) -> Iterator[httpx.Client]:
    """A browser, as far as the service can tell."""
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    with httpx.Client(base_url=house.backend.url, headers=headers, timeout=30) as client:
        yield client


def test_a_page_leads_to_the_sign_in_and_back(house: House, person: httpx.Client) -> None:
    wanted = f"/ui/jobs/{house.job.id}"
    first = person.get(wanted)
    assert first.status_code == 303
    sign_in = str(person.base_url.join(wanted).join(first.headers["location"]))
    assert sign_in == f"{house.backend.url}/sign-in?next={quote(wanted, safe='')}"
    assert "API key" in person.get(sign_in).text
    wrong = person.post(sign_in, data={"key": house.tokens["bad"]})
    assert (wrong.status_code, "not valid" in wrong.text, len(person.cookies)) == (401, True, 0)
    assert house.tokens["bad"] not in wrong.text
    good = person.post(sign_in, data={"key": f" {house.tokens['alice']} "})
    assert (good.status_code, good.headers["location"]) == (303, f".{wanted}")
    cookie = good.headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
    assert house.tokens["alice"] not in cookie
    assert house.tokens["alice"].split("_", 2)[2] not in cookie
    page = person.get(wanted)
    assert page.status_code == 200
    assert person.get("/ui").text.count("Sign out") == 1
    assert person.get(sign_in).status_code == 303, "who is signed in need not do it again"
    assert person.get(f"/jobs/{house.job.id}/view").json()["ticket"]
    out = person.post("/sign-out")
    assert (out.status_code, len(person.cookies)) == (303, 0)
    assert person.get(wanted).status_code == 303


def test_over_https_the_cookie_stays_there(house: House, person: httpx.Client) -> None:
    headers = {"X-Forwarded-Proto": "https"}
    good = person.post("/sign-in", data={"key": house.tokens["alice"]}, headers=headers)
    assert "Secure" in good.headers["set-cookie"].split("; ")


@pytest.mark.parametrize(
    "next",
    [
        "//evil.test",
        "https://evil.test",
        "/https://evil.test",
        "javascript:alert(1)",
        "/\\evil.test",
    ],
)
def test_the_sign_in_leads_nowhere_else(house: House, person: httpx.Client, next: str) -> None:
    data = {"key": house.tokens["alice"]}
    answer = person.post("/sign-in", params={"next": next}, data=data)
    assert answer.headers["location"].startswith("./")
    target = person.base_url.join("/sign-in").join(answer.headers["location"])
    assert target.host == "127.0.0.1"


def test_a_revoked_key_ends_its_sign_ins(house: House, person: httpx.Client) -> None:
    key = house.fresh_key()
    person.post("/sign-in", data={"key": house.tokens[key]})
    assert person.get("/jobs").status_code == 200
    house.revoke(key)
    assert person.get("/jobs", headers={"Accept": "application/json"}).status_code == 401


def test_another_site_cannot_act_for_who_is_signed_in(house: House, person: httpx.Client) -> None:
    person.post("/sign-in", data={"key": house.tokens["alice"]})
    path = f"/jobs/{house.job.id}/judgements/1-1"

    def status(**headers: str) -> int:
        sent = {"Sec-Fetch-Site": "", **headers}
        request = person.build_request("PUT", path, json={"verdict": "confirmed"}, headers=sent)
        for name, value in sent.items():
            if not value:
                del request.headers[name]
        return person.send(request).status_code

    assert status(**{"Sec-Fetch-Site": "same-origin"}) == 200
    assert status(Origin=house.backend.url) == 200
    for foreign in ("cross-site", "same-site", "none"):
        assert status(**{"Sec-Fetch-Site": foreign}) == 403
    assert status(Origin="https://evil.test") == 403
    assert status(Origin="null") == 403
    assert status() == 403, "only a page of ours has a reason to send the cookie"


def test_another_site_cannot_act_where_no_key_is_needed(backend: Backend) -> None:
    for origin in ("https://evil.test", "null", "http://["):
        headers = {"Origin": origin}
        for method, path in (("POST", "/scenes"), ("POST", "/areas"), ("DELETE", "/jobs/none")):
            assert_problem(backend.http.request(method, path, headers=headers), 403)
    assert backend.http.delete("/jobs/none").status_code == 404


def test_a_sign_in_from_another_site_is_ours_at_the_second_look(person: httpx.Client) -> None:
    """A strict cookie is not sent along a link from elsewhere."""
    assert "refresh" not in person.get("/sign-in").text
    page = person.get("/sign-in", headers={"Sec-Fetch-Site": "cross-site"}).text
    assert '<meta http-equiv="refresh" content="0">' in page


# Tickets.


def test_a_ticket_opens_the_tiles_of_its_job_and_no_more(house: House) -> None:
    other = replace(house.backend, store=house.backend.store.on_behalf_of("alice")).finished_pair()
    ticket = house.ask("alice", "GET", f"/jobs/{house.job.id}/view").json()["ticket"]
    jobs = f"/jobs/{house.job.id}"

    def status(path: str, method: str = "GET", ticket: str = ticket) -> int:
        mark = "&" if "?" in path else "?"
        return house.ask("nobody", method, f"{path}{mark}ticket={ticket}").status_code

    tiles = f"{jobs}/tiles/heatmap"
    for path in (
        f"{tiles}/tiles/WebMercatorQuad/{TILE}.png",
        f"{tiles}/info",
        f"{tiles}/preview.png",
    ):
        assert status(path) == 200, path
        assert status(path, ticket=ticket[:-1] + ("0" if ticket[-1] != "0" else "1")) == 401
    for path in ("", "/view", "/files/heatmap.tif", "/map", "/frame", "/events", "/anomalies"):
        assert status(f"{jobs}{path}") == 401, path
    assert status(f"/jobs/{other.id}/tiles/heatmap/info") == 401
    assert status(f"/scenes/{house.scene}/tiles/{TILE}.png") == 401
    assert status(f"{tiles}/statistics", "POST") == 401
    assert status(jobs, "DELETE") == 401


def test_a_map_carries_its_ticket(house: House) -> None:
    """The map has no origin, so no cookie; QGIS is given an address that works by itself."""
    for page in ("frame", "map"):
        text = house.ask("alice", "GET", f"/jobs/{house.job.id}/{page}").text
        assert "ticket=" in text
        for token in house.tokens.values():
            assert token not in text
    view = house.ask("alice", "GET", f"/jobs/{house.job.id}/view").json()
    tiles = f"/jobs/{house.job.id}/tiles/heatmap"
    for document in ("WMTSCapabilities.xml", "WebMercatorQuad/tilejson.json"):
        answer = house.ask("nobody", "GET", f"{tiles}/{document}?ticket={view['ticket']}")
        assert answer.status_code == 200
        assert f"ticket={view['ticket']}" in answer.text


def test_a_ticket_of_another_owner_opens_nothing(house: House) -> None:
    bob = house.keys.get(house.ids["bob"])
    assert bob is not None
    ticket = ticket_for(bob, house.job.id, 60)
    path = f"/jobs/{house.job.id}/tiles/heatmap/info?ticket={ticket}"
    assert house.ask("nobody", "GET", path).status_code == 404


# Where no key is needed.


def test_without_keys_nothing_is_asked(backend: Backend, done: Job) -> None:
    assert "ticket=" not in backend.http.get(f"/jobs/{done.id}/frame").text
    assert backend.http.get(f"/jobs/{done.id}/view").json()["ticket"] is None
    assert "Sign out" not in backend.http.get("/ui").text
    assert backend.http.get("/sign-in").headers["location"] == "./ui"


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test", ""])
def test_a_foreign_name_of_this_machine_is_refused(backend: Backend, host: str) -> None:
    """DNS rebinding: the page of that name would be of one origin with the service."""
    answer = backend.http.get("/jobs", headers={"Host": host})
    assert "GEOANOMALY_PUBLIC_HOSTS" in assert_problem(answer, 400, "host")
    assert backend.http.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1", "[::1]:80", "10.1.2.3", "LOCALHOST"]
)
def test_names_of_this_machine_and_addresses_are_its_own(backend: Backend, host: str) -> None:
    assert backend.http.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["[::1", "a]b", "["])
def test_a_host_that_is_no_name_is_refused(house: House, host: str) -> None:
    for who in ("alice", "nobody"):
        headers = {"Host": host, "Accept": "text/html"}
        answer = house.ask(who, "GET", f"/ui/jobs/{house.job.id}?x=1", headers=headers)
        assert_problem(answer, 400, "host")


def test_public_names_are_the_operators_choice(tmp_path: Path) -> None:
    with running_backend(tmp_path, public_hosts=("geo.example.org",)) as found:
        assert found.http.get("/jobs", headers={"Host": "geo.example.org"}).status_code == 200
        assert found.http.get("/jobs", headers={"Host": "evil.test"}).status_code == 400
        assert found.http.get("/jobs").status_code == 200


def test_what_a_proxy_brings_from_elsewhere_needs_a_key(backend: Backend) -> None:
    """A proxy on this machine calls from loopback, and says for whom."""
    elsewhere = {"X-Forwarded-For": "203.0.113.5"}
    assert_problem(backend.http.get("/jobs", headers=elsewhere), 401)
    assert backend.http.get("/healthz", headers=elsewhere).status_code == 200
    assert backend.http.get("/jobs", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200
