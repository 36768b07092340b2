"""The Compose file and the Dockerfile, checked without a Docker engine.

The same processes run by hand in `tests/tasks/test_worker.py` (Valkey over TCP,
PostgreSQL, two workers).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoanomaly.settings import Settings
from tests.services import ROOT

COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_conforms_to_the_compose_specification() -> None:
    tool = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    if tool is None:
        pytest.skip("no Compose schema: pip install check-jsonschema, which carries it")
    command = [tool, "--builtin-schema", "vendor.compose-spec"]
    answer = subprocess.run([*command, str(COMPOSE)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_has_the_promised_services() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert profiles == {
        "web": [],
        "worker": [],
        "valkey": [],
        "postgres": [],
        "dask-scheduler": ["cluster"],
        "dask-worker": ["cluster"],
        "flower": ["monitoring"],
    }


@pytest.mark.parametrize("name", OURS)
def test_commands_exist(name: str) -> None:
    program, *arguments = SERVICES[name]["command"]
    if program == "python":
        assert arguments[0] == "-m"
        assert find_spec(arguments[1]) is not None
        return
    scripts = {script.name for script in entry_points(group="console_scripts")}
    assert program in scripts
    if program == "uvicorn":
        module, factory = arguments[0].split(":")
        assert f"def {factory}(" in Path(str(find_spec(module).origin)).read_text()  # type: ignore[union-attr]
    if program == "dask":
        assert arguments[0] in {e.name for e in entry_points(group="dask_cli")}
    if program == "celery" and "flower" in arguments:
        assert "flower" in {e.name for e in entry_points(group="celery.commands")}


def test_worker_takes_its_arguments() -> None:
    _, _, module, *arguments = SERVICES["worker"]["command"]
    command = [sys.executable, "-m", module, *arguments, "--help"]
    assert subprocess.run(command, capture_output=True, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings(name: str) -> None:
    fields = {f"GEOANOMALY_{field.upper()}" for field in Settings.model_fields}
    used = set(SERVICES[name]["environment"])
    used |= set(re.findall(r"\bGEOANOMALY_[A-Z_]+", DOCKERFILE.read_text()))
    assert used <= fields


@pytest.mark.parametrize("name", SERVICES)
def test_parts_fit_together(name: str) -> None:
    service = SERVICES[name]
    declared = yaml.safe_load(COMPOSE.read_text())["volumes"]
    assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(declared)
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for needed, how in service.get("depends_on", {}).items():
        assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[needed]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "nothing without a login faces the network"


def test_hosts_in_addresses_are_services() -> None:
    text = COMPOSE.read_text()
    hosts = set(re.findall(r"(?:redis|tcp)://([a-z-]+)|@([a-z-]+)/", text))
    assert {host for pair in hosts for host in pair if host} <= set(SERVICES)


def test_images_are_pinned_by_tag() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    for image in images:
        assert re.fullmatch(r"[a-z/]+:(?!latest)[\w.-]+", image), image


def test_dockerfile_copies_what_exists_and_drops_root() -> None:
    text = DOCKERFILE.read_text()
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)", text, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert {"geoanomaly", "tasks", "tiling", "web", "constraints.txt"} <= set(copied)
    missing = [word for word in copied if not (ROOT / word).exists()]
    assert missing == []
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{word.split('/')[0]}" in ignored for word in copied)
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] != "root"
