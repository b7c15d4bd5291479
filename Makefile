# Two commands: `make demo` shows the main job on embedded parts, `make test` passes the tests. Both install what they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9

# Another Python gets an environment of its own: `make test PYTHON=3.12` makes .venv-3.12.
PYTHON := 3.11
VENV := .venv$(patsubst %,-%,$(filter-out 3.11,$(PYTHON)))
BIN := $(VENV)/bin
export UV_PROJECT_ENVIRONMENT := $(VENV)

# A project's folders may carry the names of ours; Python must not import from the working directory.
export PYTHONSAFEPATH := 1
export PYTHONUNBUFFERED := 1
# Nothing is reported to anyone.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export FEAST_USAGE := False
# Imports are three to five times slower without bytecode, and every step of a pipeline pays for its imports.
export UV_COMPILE_BYTECODE := 1

# Images: the builder, what their names begin with, their tag.
BUILD ?= docker build
IMAGES ?= perennial
TAG ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help setup demo year test soak test-cluster images lint docs clean

help: ## Show the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# uv is taken from the machine where it is there, else installed into .uv with Python's own tools.
UV := $(shell command -v uv || echo .uv/bin/uv)

.uv/bin/uv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing; installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/installed: pyproject.toml uv.lock $(if $(shell command -v uv),,.uv/bin/uv)
	$(UV) sync --locked --python $(PYTHON)
	@touch $@

setup: $(VENV)/installed ## Install everything into .venv

demo: setup ## Show the main job on made-up payments, from features to a retraining that is promoted
	$(BIN)/python -m examples.chargeback.demo

year: setup ## Play a year of flights through the whole loop, beside other policies: 23 minutes
	$(BIN)/python -m examples.flights.demo

# Redis and PostgreSQL are real in the tests, kubectl renders the manifests. Where they can be neither found nor installed, the tests
# that need them are skipped and say so.
.PHONY: servers
servers:
	@tests/servers/install

test: setup servers ## Run the test suite; with another Python: make test PYTHON=3.12
	$(BIN)/python -m pytest -n 2 --dist loadgroup --durations 10

soak: setup servers ## The long form of the tests that kill and roll: docs/testing.md says which, and how long they take
	SOAK=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --durations 10 tests/controller/test_crashes.py tests/pipelines/test_killed.py
	if [[ -n $${KUBECONFIG:-} ]]; then SOAK=1 $(BIN)/python -m pytest -m cluster -p no:xdist -s --timeout 3000 tests/end_to_end/test_life.py; fi

test-cluster: setup ## Run the tests that need a cluster with KServe and our images: the one that KUBECONFIG names
	$(BIN)/python -m pytest -m "" -n 2 --dist loadgroup tests/k8s
	$(BIN)/python -m pytest -m cluster -p no:xdist -s --timeout 1500 --durations 15 \
	  tests/cluster tests/controller/preflight tests/serving/deployers tests/end_to_end

images: ## Build the two images with $(BUILD): $(IMAGES)/serving and $(IMAGES)/steps
	for target in serving steps; do \
	  $(BUILD) --target $$target --label org.opencontainers.image.version=$(TAG) --label org.opencontainers.image.revision=$$(git rev-parse HEAD) \
	    --tag $(IMAGES)/$$target:$(TAG) --file Containerfile . || exit 1; \
	done

lint: setup ## Formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site has an environment of a moment: what it needs is small and nothing else imports it. A broken link ends it.
docs: $(if $(shell command -v uv),,.uv/bin/uv) ## Build the site of docs/ into site/
	@rm -rf site
	$(UV) run --quiet --isolated --locked --only-group docs zensical build --clean --strict

clean: ## Remove what was made here: state, environment, caches
	rm -rf .perennial .demo .venv .venv-* .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .cache dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
