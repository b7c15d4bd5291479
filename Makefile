# Two commands: `make demo` runs the main job on embedded parts, `make test` passes the tests. Both install what they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
BIN := .venv/bin

# A project's folders may carry the names of ours; Python must not import from the working directory.
export PYTHONSAFEPATH := 1
export PYTHONUNBUFFERED := 1
# Nothing is reported to anyone.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export FEAST_USAGE := False
# Imports are three to five times slower without bytecode, and every step of a pipeline pays for its imports.
export UV_COMPILE_BYTECODE := 1

.PHONY: help setup demo test lint clean

help: ## Show the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# uv is taken from the machine where it is there, else installed into .uv with Python's own tools.
UV := $(shell command -v uv || echo .uv/bin/uv)

.uv/bin/uv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing; installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/installed: pyproject.toml uv.lock $(if $(shell command -v uv),,.uv/bin/uv)
	$(UV) sync --locked --python '>=3.11,<3.12'
	@touch $@

setup: .venv/installed ## Install everything into .venv

demo: setup ## Train on a year of flights through the whole pipeline; stop a worse challenger
	$(BIN)/python -m examples.flights.demo

test: setup ## Run the test suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations 10

lint: setup ## Formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## Remove what was made here: state, environment, caches
	rm -rf .perennial .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
