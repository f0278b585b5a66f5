# What can be done with this checkout. Needs make and Python 3.11 or newer; everything else goes into .venv.

PYTHON ?= python3
SECONDS ?= 60
MINUTES ?= 60
WORKERS ?= 4
BIN := .venv/bin
STAMP := .venv/.installed

# Where Python is told to keep no compiled modules, each of the hundreds of processes of a test run would compile all.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check chaos chaos-planted linear soak rules simulate bench bench-peers scale docs clean

help: ## explain each target
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(STAMP) ## make .venv with all that development needs; PYTHON= chooses the interpreter (3.11 or newer)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1), and Python 3.11 or newer is needed: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup ## the main job for real: servers, two pods, a gateway, thousands of commands, one pod killed half-way
	@$(BIN)/python examples/demo.py

test: setup ## every test: unit, contracts, acceptance with real processes, examples; ARGS= goes to pytest, WORKERS= at a time
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## ruff, mypy --strict, and the contracts between the rooms of the house
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

chaos: setup ## kill, freeze and replace under load, and count; SECONDS=, SEED=, FAULTS=kill,nats,… (FAULTS=list tells all), SPLIT=1
	@$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(SPLIT),--split)

chaos-planted: setup ## give pods known bugs, one after the other: chaos must catch each of them
	@$(BIN)/python -m tests.chaos.planted

linear: setup ## record what concurrent clients see of single keys under faults, and find an order for it; SECONDS=, SEED=, FAULTS=
	@$(BIN)/python -m tests.linearizability --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

soak: setup ## load with faults for MINUTES=60, and what it leaves in memory, files, tables and streams: writes docs/soak.md
	@$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

rules: setup ## break every rule of the design in a copy, and expect its tests to fail; ONLY= chooses: 1. or 4.steps
	@$(BIN)/python -m tests.rules $(if $(ONLY),--only "$(ONLY)")

bench: setup ## measure, and write bench.json
	@$(BIN)/python -m tests.bench

bench-peers: setup ## the same work on Restate, DBOS, eventsourcing, LangGraph (installed into .peers); writes docs/benchmarks.md; ARGS=
	@$(BIN)/python -m tests.peers $(ARGS)

scale: setup ## how cost grows with rows, log length, partitions, pods, tenants, watchers; writes docs/scale.md; ARGS="--only keys"
	@$(BIN)/python -m tests.scale $(ARGS)

simulate: setup ## the engine over a seeded clock, network, broker and log, with planted bugs; HISTORIES=, or SEED= for one again
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(HISTORIES),--histories $(HISTORIES))

docs: setup ## do what README.md and the tutorial say, as their readers would, and compare
	@$(BIN)/python -m pytest tests/examples $(ARGS)

clean: ## remove .venv, the installed peers and all caches
	rm -rf .venv .peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
