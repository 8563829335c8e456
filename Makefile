# Every target sets up what it needs in .venv; Python 3.11+ and make are all that must be there.

PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST := .venv-fastmcp-oldest
OLDEST_FASTMCP := 4.0.0
MCP_1 := .venv-mcp-1
THEIRS := .venv-fastmcp-theirs
PICTURES := build/pictures/app
WORKERS ?= auto
FAULTS_AT_A_TIME ?= 3
REPORT ?= build/faults.md

.PHONY: help bench docs reference test-fastmcp-oldest test-fastmcp-theirs test-mcp-1 observe-check stack-check fault-check package-check pictures fuzz mutate demo dashboards test test-memory test-valkey check lint types format clean

help:  ## show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

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
	TASKCTX_TEST_BACKEND=memory $(BIN)/pytest -n $(WORKERS) $(ARGS)

test-valkey: $(READY)
	TASKCTX_TEST_BACKEND=valkey $(BIN)/pytest -n $(WORKERS) $(ARGS)

test-fastmcp-oldest: $(OLDEST)/.ready  ## the tests of taskctx.fastmcp on the oldest FastMCP; make test has the newest
	TASKCTX_TEST_BACKEND=memory $(OLDEST)/bin/pytest -n $(WORKERS) tests/fastmcp tests/upstream/test_fastmcp.py $(ARGS)
	TASKCTX_TEST_BACKEND=valkey $(OLDEST)/bin/pytest -n $(WORKERS) tests/fastmcp tests/upstream/test_fastmcp.py $(ARGS)

$(OLDEST)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	grep -v '^fastmcp' constraints.txt > $(OLDEST)/constraints.txt
	echo 'fastmcp-tasks==$(OLDEST_FASTMCP)' >> $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable ".[demo]" --group dev
	@touch $@

test-fastmcp-theirs: $(THEIRS)/.ready  ## FastMCP's own tests of tasks, out of its source distribution, with instrument() active
	cd $(THEIRS)/fastmcp && PYTHONPATH=$(CURDIR)/tests/fastmcp/theirs ../bin/pytest -p instrumented --timeout 60 tests/tasks $(ARGS)

$(THEIRS)/.ready: pyproject.toml constraints.txt
	rm -rf $(THEIRS)
	$(PYTHON) -m venv $(THEIRS)
	$(THEIRS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(THEIRS)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[fastmcp]" --group fastmcp-theirs
	$(THEIRS)/bin/python -m pip download --quiet --no-deps --no-binary :all: --dest $(THEIRS) $$(grep '^fastmcp==' constraints.txt)
	mkdir $(THEIRS)/fastmcp
	tar -xzf $(THEIRS)/fastmcp-*.tar.gz --strip-components 1 -C $(THEIRS)/fastmcp
	@touch $@

test-mcp-1: $(MCP_1)/.ready  ## the tests of the middleware under the MCP SDK on its last 1.x; make test has the newest
	TASKCTX_TEST_BACKEND=memory $(MCP_1)/bin/pytest tests/upstream/test_mcp.py $(ARGS)

$(MCP_1)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MCP_1)
	$(MCP_1)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	grep -v '^mcp' constraints.txt > $(MCP_1)/constraints.txt
	$(MCP_1)/bin/python -m pip install --quiet --constraint $(MCP_1)/constraints.txt --editable ".[demo,otlp]" "mcp>=1.30,<2" \
		pytest pytest-asyncio pytest-xdist hypothesis
	@touch $@

check: lint types test  ## everything that must hold before a commit: lint, types and the tests

lint: $(READY)  ## ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)  ## pyright, strict, and the completeness of the public types
	$(BIN)/pyright
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --ignoreexternal --verifytypes taskctx

observe-check: $(READY)  ## dashboards and alerts against a real Prometheus and Alertmanager
	$(BIN)/pytest -m stack tests/stack/test_observe.py tests/stack/test_empty_prometheus.py tests/stack/test_doctor.py tests/stack/test_coverage.py $(ARGS)

stack-check: $(READY)  ## the production stack, but for containers: compose's own files and a collector built for it
	$(BIN)/pytest -m stack tests/stack/test_stack.py $(ARGS)

fault-check: $(READY)  ## kill, freeze, cut off and empty servers and processes; no task may be lost or see another caller
	TASKCTX_TEST_BACKEND=valkey TASKCTX_FAULTS_REPORT=$(REPORT) $(BIN)/pytest -m faults -n $(FAULTS_AT_A_TIME) --dist worksteal tests/faults $(ARGS)

package-check: $(READY)  ## build wheel and sdist; install them and run the demo on every Python from 3.11 that is here
	$(BIN)/pytest -m packaging tests/packaging $(ARGS)

pictures: $(READY) $(PICTURES)/dist/page.js  ## draw the dashboards, without Grafana, in good and bad times; then look at build/pictures
	$(BIN)/python -m tests.pictures $(ARGS)

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
	rm -rf $(VENV) $(OLDEST) .pytest_cache .ruff_cache .hypothesis build dist
