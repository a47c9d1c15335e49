# Everything that is done to this project is a target here; `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# What `make run` starts: STORES is 1, 3 or 5; where it's empty, as many as the folder holds, and 3 in a new one.
DIR ?= data
PORT ?= 6379
STORES ?=
# How many members its scheduler has, 0, 1 or 3; where it's empty, as many as the folder holds, and 1 in a new one.
SCHEDULERS ?=

# What `make test` runs: TESTS=tests.resp for a part, JOBS=1 for one process, TRIALFLAGS for trial's own options. One
# process more than two cores: those of real daemons mostly wait for them.
TESTS ?= tests
JOBS ?= 3
TRIALFLAGS ?=

# What `make sim` runs: RUNS seeds from SEED on; SIMFLAGS for its own options, --help lists them.
SEED ?= 1
RUNS ?= 100
SIMFLAGS ?=

# The first Python that is new enough, unless PYTHON names one.
NEW_ENOUGH = -c 'import sys; sys.exit(sys.version_info < (3, 11))'
FOUND = $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
    $(shell command -v $(p) >/dev/null && $(p) $(NEW_ENOUGH) 2>/dev/null && echo $(p)))
PYTHON ?= $(firstword $(FOUND))

VENV := .venv
PY := $(VENV)/bin/python
# The editable mode that Twisted's plugin search sees; code that changes needs no new installation.
INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable

.PHONY: help run test check lint types layers golden redis node bench clean

help: ## List the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## /\1\t/' | expand -t 14

run: $(VENV)/.run ## Start three stores on 127.0.0.1:6379 to 6381, with their data in ./data (PORT= DIR= STORES=1|3|5 SCHEDULERS=0|1|3 REGIONS= GATEWAY=1)
	@exec $(VENV)/bin/tinykv playground --dir "$(DIR)" --port "$(PORT)" $(if $(STORES),--stores "$(STORES)") \
	  $(if $(SCHEDULERS),--schedulers "$(SCHEDULERS)") $(if $(REGIONS),--regions "$(REGIONS)") \
	  $(if $(filter-out 0,$(GATEWAY)),--gateway)

test: $(VENV)/.dev redis node ## Run all tests (TESTS= JOBS= TRIALFLAGS=)
	@$(PY) -m twisted.trial $(if $(filter-out 0 1,$(JOBS)),--jobs=$(JOBS)) $(TRIALFLAGS) $(TESTS)

check: lint types test ## Lint, types and all tests: what must pass before a commit

lint: $(VENV)/.dev ## Look for mistakes and style
	@$(VENV)/bin/ruff check --quiet .

types: $(VENV)/.dev ## Check the types
	@$(VENV)/bin/mypy

layers: $(VENV)/.dev ## Check who imports whom, and that documents and code agree
	@$(PY) -m twisted.trial tests.test_layers tests.test_house

golden: $(VENV)/.dev ## Write down how the conversations of tests/testdata/raft go now; review the difference
	@$(PY) -m tests.raft.golden --write

proof-%: $(VENV)/.dev redis ## Run the long form of a proof, tests/proofs/NAME.py; figures go to docs/evidence/NAME.md
	@$(PY) -m tests.proofs.$*

proof-clients proof-sessions: node

bench: proof-bench ## Measure throughput and latency beside Redis

sim: $(VENV)/.dev ## Simulate stores with faults and clients, a run for each seed (SEED= RUNS= SIMFLAGS=)
	@$(PY) -m tests.testing.simulate --seed $(SEED) --runs $(RUNS) $(SIMFLAGS)

clean: ## Take away all that these targets made, but no data
	rm -rf $(VENV) build dist *.egg-info _trial_temp* .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# The tests compare with Debian's Redis. Without it those tests skip, and say so.
redis:
	@if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing redis-server and redis-tools, which the tests compare with ..."; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server redis-tools >/dev/null; \
	elif [ -n "$${CI:-}" ]; then \
	  echo "redis-server and redis-tools are missing, and only root can install them." >&2; exit 1; \
	else \
	  echo "Tests that compare with a real Redis will skip: install redis-server and redis-tools for them." >&2; \
	fi

# One of the client libraries in the tests is Node's; it stands beside Python's. Without npm its test skips, and says so.
node: $(VENV)/node/.installed

NODE_FILES := tests/system/package.json tests/system/package-lock.json

$(VENV)/node/.installed: $(NODE_FILES) | $(PY)
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
	  problem="node and npm are missing"; \
	else \
	  echo "Installing ioredis, the client of Node that the tests use ..."; \
	  mkdir -p $(@D); cp $(NODE_FILES) $(@D); \
	  if npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error >$(@D)/log 2>&1; then \
	    touch $@; exit 0; fi; \
	  cat $(@D)/log >&2; \
	  problem="npm couldn't install ioredis"; \
	fi; \
	if [ -n "$${CI:-}" ]; then echo "The test with the client of Node can't run: $$problem." >&2; exit 1; fi; \
	echo "The test with the client of Node will skip: $$problem." >&2

$(PY):
	$(if $(PYTHON),,$(error TinyKV needs Python 3.11 or newer and found none; name one: make PYTHON=/path/to/python3))
	@if ! $(PYTHON) $(NEW_ENOUGH) 2>/dev/null; then \
	  version=$$($(PYTHON) --version 2>/dev/null) || version="not a Python that runs"; \
	  echo "TinyKV needs Python 3.11 or newer, and $(PYTHON) is $$version." >&2; exit 1; fi
	@echo "Making a virtual environment in $(VENV) ..."
	@if ! $(PYTHON) -m venv --clear $(VENV) >$(VENV).log 2>&1; then \
	  cat $(VENV).log >&2; rm -rf $(VENV) $(VENV).log; \
	  echo "$(PYTHON) can't make a virtual environment; on Debian, apt install python3-venv helps." >&2; exit 1; fi
	@rm -f $(VENV).log

$(VENV)/.run: setup.cfg pyproject.toml | $(PY)
	@echo "Installing TinyKV and what it needs into $(VENV) (once; about a minute) ..."
	@$(INSTALL) .
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml | $(PY)
	@echo "Installing TinyKV and what its tests need into $(VENV) (once; about a minute) ..."
	@$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.run
