# Everything here works on a fresh machine with Python 3.10 or later: each target makes the environment that it
# needs (.venv, never the system's), and installs again only when a pyproject.toml or the native ring has changed.
#
#   make PYTHON=python3.12 test     another interpreter (after `make clean`)
#   make test ARGS="-k ring -x"     arguments for pytest
#   make demo ARGS="--seconds 5"    arguments for `recd demo`

PYTHON ?= python3
ARGS ?=
# At most as many test processes as cores, and few enough for a small /dev/shm: every one may have a daemon.
JOBS ?= auto
MAX_JOBS ?= 8

VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml client/pyproject.toml client/setup.py $(wildcard client/native/*)

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-peers soak clean
.DELETE_ON_ERROR:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed  ## Record a swarm of double pendulums to CSV, NPZ, HDF5 and video
	$(BIN)/recd demo $(ARGS)

# Bytecode is kept, whatever the shell says: each of a thousand processes that tests start would compile recd anew.
test: $(VENV)/.installed-dev  ## Run all tests
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n $(JOBS) --maxprocesses $(MAX_JOBS) --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed bench-peers  ## Measure what recording costs, beside other ways
	$(BIN)/python scripts/bench.py $(ARGS)

# A peer that cannot be had here (no network, a Python too new) is missing in the tables, which name it.
bench-peers:
	@$(MAKE) --no-print-directory $(VENV)/.installed-bench || echo "note: not all peers could be installed" >&2

# Every kill point and 2,000 rounds of random kills (an hour or two), then recordings while everything goes wrong.
SOAK_ROUNDS ?= 2000
soak: $(VENV)/.installed-dev  ## Kill at every point, then record for half an hour while everything fails
	RECD_ROUNDS=$(SOAK_ROUNDS) $(BIN)/pytest -n $(JOBS) --maxprocesses $(MAX_JOBS) --dist worksteal tests/crash
	$(BIN)/python scripts/soak.py $(ARGS)

clean:  ## Remove the environment, build products and caches (never recordings)
	rm -rf $(VENV) build dist client/build client/dist *.egg-info client/*.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment ---

# Stamps are written last, so that what was interrupted is done again.
$(VENV)/.installed: $(SOURCES) | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./client -e .
	@touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./client -e '.[test,lint]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(SOURCES) | $(VENV)/.made
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./client -e '.[bench]'
	@touch $@

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: there is no $(PYTHON) here"; \
	  echo "  -> install Python 3.10 or later, or name one: make PYTHON=/path/to/python3"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "error: recd needs Python 3.10 or later, $(PYTHON) is $$($(PYTHON) --version 2>&1)"; \
	  echo "  -> name a later one: make PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make virtual environments"; \
	  echo "  -> install its venv package (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=21.3'  # the first with editable pyprojects
	@touch $@
