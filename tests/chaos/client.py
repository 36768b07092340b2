"""Clients that submit, repeat, list and dismiss, and remember what they were promised."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CUT_OFF = (
    # The process that reads the scene was the one that was killed or stopped.
    "its reader broke off",
    "its reader came to no end",
    # uvicorn, of requests under way when the web server was asked to end; not words of ours.
    "Internal Server Error",
)


@dataclass
class Promise:
    """A 201: the job exists. dismissed: somebody asked for that too, answered or not."""

    job_id: str
    seed: int
    dismissed: bool = False


@dataclass
class History:
    """What all clients were told together. odd: answers that no client should get."""

    promises: dict[str, Promise] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    repeated: int = 0
    refused_connections: int = 0


class Clients:
    """Threads that keep a few jobs under way until they are told to stop."""

    def __init__(self, url: str, scene: Path, seed: int, count: int, *, under_way: int) -> None:
        self.history = History()
        self._url, self._scene, self._under_way = url, scene, under_way
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._numbers = iter(range(1, 10**9))
        self._threads = [
            threading.Thread(target=self._play, args=(random.Random(f"{seed} {n}"),), daemon=True)
            for n in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No new jobs; submissions that got no answer yet go on until they have one."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(120)
            if thread.is_alive():
                self.history.odd.append("a submission got no answer for 120 s")

    def _play(self, chance: random.Random) -> None:
        with httpx.Client(base_url=self._url, timeout=20) as http:
            while not self._stopping.is_set():
                dice = chance.random()
                if dice < 0.5:
                    self._submit(http)
                elif dice < 0.65:
                    self._repeat(http, chance)
                elif dice < 0.72:
                    self._dismiss(http, chance)
                else:
                    self._ask(http, "GET", "/jobs")
                time.sleep(chance.uniform(0, 0.1))

    def _submit(self, http: httpx.Client) -> None:
        listed = self._ask(http, "GET", "/jobs")
        if listed is not None:
            counts = listed.json()["counts"]
            if counts["accepted"] + counts["running"] >= self._under_way:
                time.sleep(0.2)
                return
        with self._lock:
            seed = next(self._numbers)
        # As a careful client: the same key until there is an answer.
        give_up = time.monotonic() + 100
        while time.monotonic() < give_up:
            answer = self._execute(http, seed)
            if answer is not None:
                self.history.promises[f"key {seed}"] = Promise(answer, seed)
                return
            time.sleep(0.1)
        self.history.odd.append(f"seed {seed} was not accepted within 100 s")

    def _repeat(self, http: httpx.Client, chance: random.Random) -> None:
        promise = self._any(chance)
        answer = promise and self._execute(http, promise.seed)
        if promise and answer:
            self.history.repeated += 1
            if answer != promise.job_id:
                self.history.odd.append(f"seed {promise.seed} has two jobs")

    def _dismiss(self, http: httpx.Client, chance: random.Random) -> None:
        promise = self._any(chance)
        if promise:
            promise.dismissed = True
            self._ask(http, "DELETE", f"/jobs/{promise.job_id}")

    def _any(self, chance: random.Random) -> Promise | None:
        """One of the last few: the others have ended."""
        recent = list(self.history.promises.values())[-8:]
        return chance.choice(recent) if recent else None

    def _execute(self, http: httpx.Client, seed: int) -> str | None:
        body = {"inputs": {"scene": {"href": str(self._scene)}, "seed": seed}}
        path = "/processes/detect-anomaly/execution"
        answer = self._ask(
            http, "POST", path, json=body, headers={"Idempotency-Key": f"key {seed}"}
        )
        return None if answer is None else str(answer.json()["jobID"])

    def _ask(
        self, http: httpx.Client, method: str, path: str, **more: Any
    ) -> httpx.Response | None:
        """None where nobody answered: the web server is dead, or its database is locked."""
        try:
            answer = http.request(method, path, **more)
        except httpx.TransportError:
            self.history.refused_connections += 1
            return None
        if answer.is_success:
            return answer
        if answer.status_code != 503 and not any(words in answer.text for words in CUT_OFF):
            self.history.odd.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return None
