"""`python -m tests.chaos.load`: many submissions, a long job table, many small jobs.

A real web server and, for the small jobs, a real worker and broker. Prints one line of JSON
for each part with what was measured; ends with 1 where a promise was broken. Figures are of
the machine as it is: clients, server and worker share it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from sqlalchemy import insert, select

from geoanomaly.jobs import JobStore
from geoanomaly.jobs.tables import jobs, transitions
from geoanomaly.service import Child, Part, free_port, parts
from geoanomaly.settings import Settings
from geoanomaly.types import JobStatus
from tasks.queue import socket_path
from tests.rasters import texture, write_raster
from tests.services import ROOT, wait_for

Report = dict[str, Any]
EXECUTE = "/processes/detect-anomaly/execution"


@contextmanager
def service(worker: str | None = None, **changes: Any) -> Iterator[tuple[Settings, str, str]]:
    """Settings, address and the id of a scene: of web server and broker, and with `worker` also of
    that worker, on a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix="load-", dir="/tmp"))
    values = {"quota_jobs": 10**6, "quota_pixels": 10**12, "threads": 1, **changes}
    settings = Settings(data_dir=folder / "data", **values)
    raster = write_raster(folder / "scene.tif", texture(1, 3, 128, 128))
    os.environ["PYTHONPATH"] = str(ROOT)
    port = free_port("127.0.0.1", 0)
    broker, _, web = parts(settings, "127.0.0.1", port, 1)
    chosen = [broker, Part("worker", worker), web] if worker else [broker, web]
    children = [Child(part, settings) for part in chosen]
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(url), "the web server", 60)
        with raster.open("rb") as file:
            sent = httpx.post(f"{url}/scenes", files={"file": ("scene.tif", file)}, timeout=60)
        yield settings, url, sent.raise_for_status().json()["id"]
    finally:
        for child in reversed(children):
            child.stop()
        shutil.rmtree(folder)
        shutil.rmtree(socket_path(settings).parent, ignore_errors=True)


def submissions(count: int, clients: int) -> Report:
    """`count` jobs from so many clients at once: each is there, and answered in time."""
    with service() as (settings, url, scene):
        answers = _together(url, clients, count, lambda n: _body(scene, n))
        store = JobStore(settings.database)
        with store.database.read() as conn:
            there = set(conn.execute(select(jobs.c.id)).scalars())
        store.close()
    told = {answer.json()["jobID"] for answer, _ in answers if answer.status_code == 201}
    return {
        "what": f"{count} submissions from {clients} clients",
        "accepted": len(told),
        "lost": len(told - there),
        "statuses": _statuses(answers),
        **_times(answers),
        "broken": len(told) != count or told != there,
    }


def repetitions(count: int, keys: int, clients: int) -> Report:
    """`count` submissions on so many idempotency keys, all at once."""
    with service() as (settings, url, scene):
        head = lambda n: {"Idempotency-Key": f"key {n % keys}"}  # noqa: E731
        answers = _together(url, clients, count, lambda n: _body(scene, n % keys), head)
        store = JobStore(settings.database)
        there = sum(store.counts().values())
        store.close()
    return {
        "what": f"{count} submissions on {keys} idempotency keys",
        "jobs": there,
        "statuses": _statuses(answers),
        **_times(answers),
        "broken": there != keys or _statuses(answers) != {"201": count},
    }


def long_table(count: int, asked: int, clients: int) -> Report:
    """With `count` jobs in the table: the list, and the status of jobs anywhere in it."""
    with service() as (settings, url, scene):
        ids = _fill(url, settings, scene, count)
        listed = _together(url, clients, asked, path=lambda _: "/jobs?limit=20")
        deep = _together(url, clients, asked // 4, path=lambda n: f"/jobs?offset={n * 97}&limit=20")
        failed = _together(url, clients, asked // 4, path=lambda _: "/jobs?status=failed")
        status = _together(url, clients, asked, path=lambda n: f"/jobs/{ids[n * 7919 % len(ids)]}")
    return {
        "what": f"{count} jobs in the table, {clients} clients",
        "list": _times(listed),
        "list, any page": _times(deep),
        "list of failed": _times(failed),
        "status": _times(status),
        "statuses": _statuses(listed + deep + failed + status),
        "broken": _statuses(listed + status) != {"200": 2 * asked},
    }


def small_jobs(count: int) -> Report:
    """So many jobs through worker and web: what both of them hold at the beginning and the end."""
    with service("tests.chaos.small_worker") as (settings, url, scene):
        store = JobStore(settings.database)
        done = 0
        samples = []
        with httpx.Client(base_url=url, timeout=30) as http:
            for number in range(count):
                answer = http.post(EXECUTE, json=_body(scene, number))
                assert answer.status_code == 201, answer.text
                job_id = answer.json()["jobID"]
                wait_for(lambda job=job_id: store.get(job).status.final, "a job's end", 60)
                http.get("/jobs")
                http.get(f"/jobs/{job_id}/results")
                done += store.get(job_id).status is JobStatus.SUCCESSFUL
                if number % max(1, count // 20) == 0:
                    samples.append({"jobs": number, **_held(settings)})
        samples.append({"jobs": count, **_held(settings)})
        store.close()
    return {
        "what": f"{count} small jobs, one after the other",
        "successful": done,
        "after a twentieth": samples[1],
        "at half": samples[len(samples) // 2],
        "at the end": samples[-1],
        "broken": done != count,
    }


def _held(settings: Settings) -> dict[str, int]:
    """Memory (unique to the process, KiB) and open files of web server and worker."""
    found: dict[str, int] = {}
    for process in psutil.process_iter():
        try:
            if str(settings.data_dir) not in process.environ().get("GEOANOMALY_DATA_DIR", ""):
                continue
            words = " ".join(process.cmdline())
            part = "web" if "uvicorn" in words else "worker" if "small_worker" in words else ""
            if part:
                name = part if f"{part} KiB" not in found else f"{part} child"
                found[f"{name} KiB"] = process.memory_full_info().uss // 1024
                found[f"{name} files"] = process.num_fds()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def _fill(url: str, settings: Settings, scene: str, count: int) -> list[str]:
    """Copies of one real row, most of them ended, with their histories."""
    httpx.post(f"{url}{EXECUTE}", json=_body(scene, 0)).raise_for_status()
    store = JobStore(settings.database)
    states = ["successful"] * 90 + ["failed"] * 5 + ["dismissed"] * 4 + ["accepted"]
    with store.database.write() as conn:
        row = conn.execute(select(jobs)).mappings().one()
        step = conn.execute(select(transitions)).mappings().first()
        values = {key: row[key] for key in row if key != "seq"}
        told = {key: value for key, value in (step or {}).items() if key != "seq"}
        for start in range(0, count, 5000):
            numbers = range(start, min(count, start + 5000))
            made = [
                {**values, "id": f"{n:032x}", "status": states[n % 100], "created": n, "updated": n}
                for n in numbers
            ]
            conn.execute(insert(jobs), made)
            conn.execute(insert(transitions), [{**told, "job_id": job["id"]} for job in made])
    store.close()
    return [f"{n:032x}" for n in range(count)]


@dataclass(frozen=True)
class Answer:
    status_code: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def _together(
    url: str,
    clients: int,
    count: int,
    body: Callable[[int], Any] | None = None,
    head: Callable[[int], dict[str, str]] = lambda _: {},
    path: Callable[[int], str] = lambda _: EXECUTE,
) -> list[tuple[Answer, float]]:
    """So many requests, each client one after the other; answers and seconds.

    By the standard library's client, which takes the least time of its own: the clients share
    a processor with the server, and their queues are not the server's.
    """
    numbers = iter(range(count))
    lock = threading.Lock()
    answers: list[tuple[Answer, float]] = []

    def play() -> None:
        connection = HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.connect()
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            sent = None if body is None else json.dumps(body(number)).encode()
            headers = {"Content-Type": "application/json", **head(number)}
            began = time.perf_counter()
            connection.request("GET" if sent is None else "POST", path(number), sent, headers)
            answer = connection.getresponse()
            answers.append((Answer(answer.status, answer.read()), time.perf_counter() - began))
        connection.close()

    threads = [threading.Thread(target=play) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _body(scene: str, number: int) -> Report:
    return {"inputs": {"scene": scene, "seed": number}}


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def _statuses(answers: list[tuple[Answer, float]]) -> dict[str, int]:
    return dict(Counter(str(answer.status_code) for answer, _ in answers))


def _times(answers: list[tuple[Answer, float]]) -> dict[str, float]:
    seconds = sorted(each for _, each in answers)
    share = statistics.quantiles(seconds, n=100)
    return {
        "p50 ms": round(1000 * share[49], 1),
        "p99 ms": round(1000 * share[98], 1),
        "max ms": round(1000 * seconds[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.load", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the numbers (default 1)")
    parser.add_argument("--only", choices=("submissions", "repetitions", "table", "jobs"))
    options = parser.parse_args()
    scale = lambda number: max(1, round(number * options.scale))  # noqa: E731
    chosen: dict[str, Callable[[], Report]] = {
        "submissions": lambda: submissions(scale(5000), 32),
        "repetitions": lambda: repetitions(scale(1000), scale(100), 32),
        "table": lambda: long_table(scale(100_000), scale(2000), 4),
        "jobs": lambda: small_jobs(scale(2000)),
    }
    broken = False
    for name, part in chosen.items():
        if options.only in (None, name):
            report = part()
            broken |= bool(report["broken"])
            print(json.dumps(report), flush=True)
    sys.exit(broken)


if __name__ == "__main__":
    main()
