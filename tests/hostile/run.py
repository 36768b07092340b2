"""Bad inputs through the real service: `make hostile`, ARGS="--mutated N --only KIND...".

Every case of the corpus is one request to the HTTP service, with its real checks and its
real sandbox. What is counted: answers, seconds, and the memory of the largest child.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from geoanomaly.sandbox.supervisor import Sandbox, sandbox, tally
from geoanomaly.settings import Settings
from tests.hostile.corpus import MAKERS, Case, cases, tiff
from tests.hostile.mutations import READING, mutations, swallow
from tests.web.backend import ground, serving, write_raster
from web.app import create_app

SECONDS, MIB = 2.0, 512
SECRET = "PLANTED-6b1f"


@dataclass
class Target:
    """A service to attack. scene: an uploaded scene's id; planted: a file that nobody may read."""

    http: httpx.Client
    settings: Settings
    scene: str
    planted: Path

    def send(self, case: Case) -> httpx.Response:
        if case.kind == "request":
            process = "train-model" if case.name.startswith("exclude: ") else "detect-anomaly"
            return self.http.post(
                f"/processes/{process}/price",
                content=case.body.replace(b"@scene", self.scene.encode()),
                headers={"Content-Type": "application/json"},
            )
        name = case.name if case.category.startswith("names") else "sent.tif"
        route = "/scenes" if case.kind == "scene" else "/areas"
        return self.http.post(route, files={"file": (name, case.body)})


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    (folder / "archive").mkdir()
    planted = folder / "secret.txt"
    planted.write_text(SECRET)
    write_raster(folder / "secret.tif", ground(9, 1))
    settings = Settings(data_dir=folder / "data", scene_roots=(folder / "archive",))
    app = create_app(settings, ring=lambda *_: True)
    with serving(app) as url, httpx.Client(base_url=url, timeout=60) as http:
        sent = http.post("/scenes", files={"file": ("good.tif", tiff(300, 300))})
        yield Target(http, settings, sent.json()["id"], planted)


def fault(case: Case, answer: httpx.Response) -> str | None:
    """What is wrong with an answer; None = a typed refusal, or taken where that does no harm."""
    if SECRET in answer.text:
        return "the planted text came out"
    if answer.status_code in (200, 201):
        return None if case.harmless else f"taken: {answer.text[:200]}"
    if answer.status_code not in (400, 404, 413):
        return f"{answer.status_code}: {answer.text[:300]}"
    said: dict[str, Any] = answer.json()
    if answer.status_code == 404 and "field" not in said:
        return f"no input at fault: {answer.text[:300]}"
    if not said.get("detail") or len(said["detail"]) > 5000:
        return f"no explanation: {answer.text[:300]}"
    return None


@dataclass
class Report:
    """faults: (case, what is wrong); slowest: seconds and the case."""

    counts: Counter[str] = field(default_factory=Counter)
    taken: int = 0
    faults: list[tuple[Case, str]] = field(default_factory=list)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        for category, count in self.counts.items():
            yield f"{count:5d}  {category}"
        total = sum(self.counts.values())
        yield f"{total} cases, {len(self.counts)} categories, {self.taken} taken"
        for seconds, name in sorted(self.slowest, reverse=True)[:5]:
            yield f"{seconds:.2f} s  {name}"
        peak = tally.peak / 2**20
        yield f"largest child {peak:.0f} MiB, {tally.calls} calls, {tally.broken} broken off"
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield f"this process, service and corpus together: {own:.0f} MiB at most"
        for case, what in self.faults:
            yield f"FAULT {case.category}: {case.name[:80]!r}: {what}"


def attack(aim: Target, corpus: Iterable[Case], seconds: float = SECONDS) -> Report:
    report = Report()
    for case in corpus:
        begin = time.monotonic()
        try:
            answer = aim.send(case)
        except httpx.TransportError as error:
            report.faults.append((case, f"no answer: {error}"))
            continue
        took = time.monotonic() - begin
        report.counts[case.category] += 1
        report.taken += answer.status_code < 300
        report.slowest.append((took, f"{case.category}: {case.name[:60]}"))
        if what := fault(case, answer):
            report.faults.append((case, what))
        if took > seconds:
            report.faults.append((case, f"took {took:.1f} s: {answer.text[:200]}"))
    return report


def unharmed(aim: Target) -> bool:
    """It answers, takes a good scene, and nothing lies about."""
    left = [*aim.settings.scenes_dir.glob(".*"), *aim.settings.taken_dir.glob(".*")]
    sent = aim.http.post("/scenes", files={"file": ("good.tif", tiff(300, 300))})
    return not left and sent.status_code == 201 and aim.http.get("/healthz").is_success


def mutated(count: int) -> str:
    """So many mutations of real files, each read from end to end in a child of its own."""
    begin = time.monotonic()
    box = Sandbox(Settings(), READING)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        endings = Counter(pool.map(partial(swallow, box), mutations(count)))
    box.close()
    took = time.monotonic() - begin
    said = ", ".join(f"{number} {ending}" for ending, number in endings.most_common())
    return f"{count} mutated TIFFs in {took:.0f} s ({1000 * took / count:.0f} ms each): {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutated", type=int, default=20_000)
    parser.add_argument("--only", nargs="*", choices=[*MAKERS, "none"], default=list(MAKERS))
    options = parser.parse_args()
    logging.disable()  # each refusal that is a fault of ours is reported below
    with tempfile.TemporaryDirectory() as folder, target(Path(folder)) as aim:
        sandbox(aim.settings).start()
        report = attack(aim, cases(aim.planted, options.only))
        print("\n".join(report.lines()), flush=True)
        whole_corpus = options.only == list(MAKERS)
        assert not whole_corpus or (sum(report.counts.values()) >= 600 and len(report.counts) >= 20)
        if options.mutated:
            print(mutated(options.mutated))
        whole = unharmed(aim)
        print("the service is unharmed" if whole else "THE SERVICE IS HARMED")
    sys.exit(bool(report.faults) or not whole or tally.peak > MIB * 2**20)


if __name__ == "__main__":
    main()
