"""Log lines: one JSON object each, with the job that they are about, and never with a key."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from geoanomaly.access.keys import NewKey
from geoanomaly.logs import JsonLines, TextLines, about_job

JOB = "0123456789abcdef0123456789abcdef"


def line(form: logging.Formatter, message: str, *values: Any, error: Any = None) -> str:
    return form.format(
        logging.LogRecord("tasks.run", logging.WARNING, __file__, 1, message, values, error)
    )


def test_a_json_line_has_the_job() -> None:
    with about_job(JOB):
        found = json.loads(line(JsonLines(), "late by %d s\n", 3))
    assert found["message"] == "late by 3 s\n"
    assert (found["level"], found["logger"], found["job"]) == ("warning", "tasks.run", JOB)
    assert found["time"].endswith("Z")
    assert "job" not in json.loads(line(JsonLines(), "idle"))


def test_an_error_stays_on_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        text = line(JsonLines(), "failed", error=(type(error), error, error.__traceback__))
    assert "\n" not in text
    assert "ValueError: two\nlines" in json.loads(text)["error"]


def test_a_text_line_names_the_job_once() -> None:
    with about_job(JOB):
        assert line(TextLines(), "late").endswith(f"tasks.run: late [job {JOB}]")
        assert line(TextLines(), "Job %s is late", JOB).count(JOB) == 1


def test_threads_have_jobs_of_their_own() -> None:
    seen = []
    with about_job(JOB):
        thread = threading.Thread(target=lambda: seen.append(line(TextLines(), "x")))
        thread.start()
        thread.join()
    assert JOB not in seen[0]


@pytest.mark.parametrize("form", [JsonLines(), TextLines()])
def test_no_line_has_a_key_or_a_ticket(form: logging.Formatter) -> None:
    token = NewKey.make().token
    ticket = f"ticket={token[3:15]}.1700000000.{'a' * 64}"
    text = line(form, "GET /x?%s&key=%s", ticket, token)
    assert token not in text
    assert "a" * 64 not in text
    assert token[:16] in text, "the public part says which it was"
