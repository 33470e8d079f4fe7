# Every command sets up what it needs; a second time it starts at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP := $(VENV)/.setup
DEV_STAMP := $(VENV)/.setup-dev

.PHONY: help setup setup-dev demo up test test-slow test-counterparts check format lint contracts types sdl lock clean

help: ## what there is to type
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(STAMP) ## make .venv with what Aether needs; fast when nothing changed

setup-dev: $(DEV_STAMP) ## the same with the tools of its developers

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}; say make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what Aether needs into $(VENV) (once; a minute or so) ..."
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(STAMP)
	@echo "Installing the developers' tools ..."
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

demo: setup ## watch a signed webhook become comments; nothing but this machine is needed
	@$(BIN)/aether demo

up: setup ## run Aether with its embedded services
	@$(BIN)/aether up

test: setup-dev ## the test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup-dev ## tests that kill processes and wait for whole services
	@$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

test-counterparts: setup-dev ## the end-to-end test against programs that others wrote
	@$(BIN)/python -m pytest -m counterparts -n 2 --dist loadfile

check: setup-dev format lint contracts types test ## format, lint, import contracts, types, tests

format: setup-dev
	@$(BIN)/ruff format --check

lint: setup-dev
	@$(BIN)/ruff check

contracts: setup-dev
	@$(BIN)/lint-imports

types: setup-dev
	@$(BIN)/mypy

sdl: setup ## print the GraphQL schema and the OpenAPI document into the repository
	@$(BIN)/aether sdl > schema/schema.graphql
	@$(BIN)/aether openapi > openapi.json

lock: ## resolve the dependencies again, for every supported Python
	uv pip compile --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -q pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -q --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## remove .venv and every cache
	rm -rf $(VENV) .counterparts .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
