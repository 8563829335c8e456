# Every target sets up what it needs in .venv; Python 3.11+ and make are all that must be there.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FASTMCP_THEIRS := 3.4.11 4.0.0 4.1.2 4.1.4
PICTURES := build/pictures/app
WORKERS ?= auto
FAULTS_AT_A_TIME ?= 3
REPORT ?= build/faults.md
# PROMETHEUS=3: on the version that docker-compose.yml runs, which is built (with Go) at the first time, not on what is installed
ON_PROMETHEUS := $(if $(filter 3,$(PROMETHEUS)),built=$$($(BIN)/python -m tests.stack.prometheus_3) && PATH="$$built:$$PATH")

.PHONY: help bench docs reference compat test-oldest test-fastmcp-3 test-fastmcp-oldest test-mcp-1 test-fastmcp-theirs observe-check stack-check compose-check fault-check package-check release-check pictures terminal-pictures fuzz mutate demo dashboards test test-memory test-valkey check lint types format clean

help:  ## show the targets
	@grep -hE '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "taskctx needs Python 3.11 or later; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]" --group dev
	@touch $@

demo: $(READY)  ## run the main job on real input: requests, workers, a real Valkey
	$(BIN)/taskctx demo $(ARGS)

test: test-memory test-valkey  ## run the tests on both backends

test-memory: $(READY)
	$(ON_PROMETHEUS) TASKCTX_TEST_BACKEND=memory $(BIN)/pytest -n $(WORKERS) $(ARGS)

test-valkey: $(READY)
	TASKCTX_TEST_BACKEND=valkey $(BIN)/pytest -n $(WORKERS) $(ARGS)

test-oldest test-fastmcp-3 test-fastmcp-oldest test-mcp-1: $(READY)  ## tests with other versions, in a venv of their own (tests/versions/sets.py)
	$(BIN)/python -m tests.versions $(@:test-%=%) -n $(WORKERS) $(ARGS)

compat: $(READY)  ## tests with every set of versions in tests/versions/sets.py; an hour and a half
	$(BIN)/python -m tests.versions --write -n $(WORKERS) $(ARGS)

test-fastmcp-theirs: $(FASTMCP_THEIRS:%=test-fastmcp-theirs-%)  ## FastMCP's own tests of tasks, out of its source distributions, with instrument() active

test-fastmcp-theirs-3.%: THEIR_TESTS := tests/server/tasks tests/client/tasks tests/cli/test_tasks.py
test-fastmcp-theirs-4.%: THEIR_TESTS := tests/tasks
test-fastmcp-theirs-%: .venv-fastmcp-theirs-%/.ready
	cd $(<D)/fastmcp && PYTHONPATH=$(CURDIR)/tests/fastmcp/theirs ../bin/pytest -p instrumented --timeout 60 $(THEIR_TESTS) $(ARGS)

.PRECIOUS: .venv-fastmcp-theirs-%/.ready
.venv-fastmcp-theirs-%/.ready: pyproject.toml constraints.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	grep -vE '^(fastmcp|mcp|certifi|pydantic-monty)' constraints.txt > $(@D)/constraints.txt
	echo 'fastmcp==$*' >> $(@D)/constraints.txt
	$(@D)/bin/python -m pip install --quiet --constraint $(@D)/constraints.txt --editable ".[fastmcp]" --group fastmcp-theirs
	$(@D)/bin/python -m pip download --quiet --no-deps --no-binary :all: --dest $(@D) fastmcp==$*
	mkdir $(@D)/fastmcp
	tar -xzf $(@D)/fastmcp-*.tar.gz --strip-components 1 -C $(@D)/fastmcp
	@touch $@

check: lint types test  ## everything that must hold before a commit: lint, types and the tests

lint: $(READY)  ## ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)  ## pyright, strict, and the completeness of the public types
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --ignoreexternal --verifytypes taskctx

observe-check: $(READY)  ## dashboards and alerts against a real Prometheus (PROMETHEUS=3: a new one) and Alertmanager
	$(ON_PROMETHEUS) $(BIN)/pytest -m stack tests/stack/test_observe.py tests/stack/test_empty_prometheus.py tests/stack/test_doctor.py tests/stack/test_coverage.py tests/stack/test_histograms.py $(ARGS)

stack-check: $(READY)  ## the production stack, but for containers: compose's own files and a collector built for it
	$(ON_PROMETHEUS) $(BIN)/pytest -m stack tests/stack/test_stack.py $(ARGS)

compose-check: $(READY)  ## docker-compose.yml on a real container engine: this machine's, or one of the check's own (ENGINE=own, as root on Debian)
	ENGINE=$(ENGINE) $(BIN)/python -m tests.compose $(ARGS)

fault-check: $(READY)  ## kill, freeze, cut off and empty servers and processes; no task may be lost or see another caller
	TASKCTX_TEST_BACKEND=valkey TASKCTX_FAULTS_REPORT=$(REPORT) $(BIN)/pytest -m faults -n $(FAULTS_AT_A_TIME) --dist worksteal tests/faults $(ARGS)

package-check: $(READY)  ## build wheel and sdist; install them and run the demo on every Python from 3.11 that is here
	$(BIN)/pytest -m packaging tests/packaging $(ARGS)

release-check: docs  ## what is to be uploaded, in dist: its versions, its page on an index, the changelog; and the docs
	$(BIN)/python -m tests.packaging.release

pictures: $(READY) $(PICTURES)/dist/page.js  ## draw the dashboards, without Grafana, in good and bad times; then look at build/pictures
	$(BIN)/python -m tests.pictures $(ARGS)

terminal-pictures: $(READY)  ## draw what the command shows on a terminal, for the docs; needs prometheus
	$(BIN)/python -m tests.pictures.terminal

$(PICTURES)/dist/page.js: $(wildcard tests/pictures/app/*)
	mkdir -p $(PICTURES)
	cp tests/pictures/app/* $(PICTURES)
	cd $(PICTURES) && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error && node build.mjs

bench: $(READY)  ## what a context costs; some fifteen minutes on an idle machine, or ARGS=--quick
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(READY)  ## coverage-guided fuzzing for a minute: whatever others send us
	$(BIN)/python -m tests.fuzz $(ARGS)

mutate: $(READY)  ## change the codec, the keys and the failure contract here and there: some test must notice
	$(BIN)/python -m tests.mutation $(ARGS)

docs: $(READY)  ## build the site in build/site; a link that leads nowhere is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/site
	@echo build/site/index.html

reference: $(READY)  ## put the tables that are made from the code into the pages of docs/reference
	$(BIN)/python docs/tables.py

dashboards: $(READY)  ## regenerate the dashboards, rules and alerts
	$(BIN)/python -m dashboards

format: $(READY)  ## put the code in order
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove everything that was set up
	rm -rf .venv* .pytest_cache .ruff_cache .hypothesis build dist
