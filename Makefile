# Everything starts from Python 3.11 or later, git and make; the rest is fetched or built.
.DEFAULT_GOAL := help
.PHONY: help demo up console check unit watch integration test test-faults coverage bench dashboards lint audit docs lock clean setup servers test-tools

PY := .venv/bin/python
# Compiled once, and not at each start.
unexport PYTHONDONTWRITEBYTECODE
# No test of these starts a stack.
SIDE_BY_SIDE := tests/unit tests/contracts tests/architecture tests/integration
# These start whole stacks, and mostly wait. STACK_PROCESSES=0 runs one test at a time, without xdist.
STACKS := tests/e2e tests/faults tests/observability
STACK_PROCESSES ?= 2
# One stage after the other. With `IN_TURN=` they run at the same time, for a machine with more than two cores.
IN_TURN ?= 1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## the whole stack and a spoken conversation; ONCE=1 ends by itself
	@.venv/bin/rollcall demo $(if $(ONCE),--once)

up: setup ## the whole stack, until Ctrl-C
	@.venv/bin/rollcall up

check: setup ## style and types, in seconds: mypy checks what changed
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

unit: setup ## the tests that need no server and no network, on all cores; ARGS="-k line" for some
	@$(PY) -m pytest --quiet --numprocesses logical tests/unit $(ARGS)

watch: setup ## `check` and `unit` whenever a Python file changes; a test that failed comes first
	@.venv/bin/watchfiles --filter python "$(MAKE) --no-print-directory check unit ARGS='--failed-first --exitfirst'" .

integration: setup servers ## the tests of one feature on real servers: F=live, a folder or a word of the names
	$(PY) -m pytest --quiet --numprocesses logical --dist loadfile $(if $(wildcard tests/integration/$(F)),tests/integration/$(F),tests/integration -k "$(F)") $(ARGS)

test: lint servers test-tools ## every check and every test; ARGS="tests/unit -k line" for some
ifdef ARGS
	$(PY) -m pytest $(ARGS)
else
	$(PY) -m tests.stages $(if $(IN_TURN),--in-turn) "--numprocesses $(if $(IN_TURN),3,2) --dist loadfile $(SIDE_BY_SIDE)" "--numprocesses $(STACK_PROCESSES) --dist loadfile $(STACKS)"
endif

test-faults: setup servers test-tools ## the tests that break things, with a table; FULL=1 for 200 sessions
	FULL=$(FULL) $(PY) -m pytest tests/faults $(ARGS)

coverage: setup $(if $(LONG),servers test-tools) ## which lines and branches tests without a stack reach; LONG=1 adds the integration tests
	rm -rf .rollcall/coverage
	$(PY) -m coverage run -m pytest --quiet --numprocesses logical --dist loadfile $(if $(LONG),$(SIDE_BY_SIDE),$(filter-out tests/integration,$(SIDE_BY_SIDE)))
	$(PY) -m coverage combine --quiet
	$(PY) -m coverage report

bench: setup servers ## the published numbers, in short; ARGS="join --rounds 30" for one of them
	$(PY) -m bench $(or $(ARGS),all --short)

console: setup test-tools ## build the console's page, which the API serves; DEV=1 serves it with a server of its own, rebuilt at each change
	$(PY) -m tools.openapi .rollcall/openapi.json
	cd services/console && OPENAPI=$(CURDIR)/.rollcall/openapi.json npm run --silent types && npm run --silent check && npm run --silent test && npm run --silent $(if $(DEV),dev,build)

dashboards: setup ## write what is made from the code: Grafana's dashboards and docs/metrics.md
	$(PY) -m deploy.grafana

lint: setup ## style, types and the rules of the imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

audit: setup test-tools ## known vulnerabilities in the locks of Python and npm, as far as services can be reached
	@$(PY) requirements/audit.py

docs: setup ## write docs/events.md, asyncapi.yaml and the catalogue in docs/logs.md anew
	@$(PY) -m tools

lock: setup ## write the locks anew; UPGRADE=1 takes the latest versions
	@requirements/lock.sh

clean: ## remove the environment and all local state; built servers stay in the user's cache
	rm -rf .venv .rollcall .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis *.egg-info

setup:
	@requirements/setup.sh

servers: setup
	@$(PY) -m devstack.provision

test-tools:
	@requirements/tests.sh
