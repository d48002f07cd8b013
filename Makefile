# Two commands do it all on a fresh machine: `make run`, `make test`. `make help` lists the rest.
PYTHON ?= python3.11
VENV ?= .venv
ENGINE ?= duckdb
USE_CASE ?= flights
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
.DEFAULT_GOAL := help
.PHONY: help run up down test test-slow test-all check render notebooks lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-zA-Z_%-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp a set of requirements: it is installed again only when its pins change.
$(VENV)/.run: requirements-run.txt pyproject.toml | $(BIN)/python
	$(PIP) -r requirements-run.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(PIP) -r requirements-dev.txt
	@touch $@

$(VENV)/.spark: requirements-spark.txt $(VENV)/.run
	$(PIP) -r requirements-spark.txt
	@touch $@

$(VENV)/.bench: requirements-bench.txt $(VENV)/.dev $(VENV)/.spark
	$(PIP) -r requirements-bench.txt
	@touch $@

engine-duckdb: $(VENV)/.run
engine-spark: $(VENV)/.spark

run: $(VENV)/.run engine-$(ENGINE) ## Run the whole pipeline on real data here (ENGINE=spark for real Spark)
	$(BIN)/triptych run $(USE_CASE) --engine $(ENGINE)

up: $(VENV)/.run engine-$(ENGINE) ## Start the local cloud and deploy into it
	$(BIN)/triptych up $(USE_CASE) --engine $(ENGINE)

down: $(VENV)/.run ## Stop the local cloud; everything is kept
	$(BIN)/triptych down

test: $(VENV)/.dev ## Run the tests
	$(BIN)/python -m pytest -m "not slow and not spark"

test-slow: $(VENV)/.dev $(VENV)/.spark ## Run the slow tests and those on real Spark
	$(BIN)/python -m pytest -m "slow or spark"

test-all: test test-slow ## Run every test

check: $(VENV)/.dev ## Lint, types, templates and rendered definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint cloudformation/*.yaml
	$(BIN)/python -m workflows.render --check
	$(BIN)/python notebooks/pair.py --check

render: $(VENV)/.dev ## Render the workflows to workflows/rendered/
	$(BIN)/python -m workflows.render

notebooks: $(BIN)/python ## Write notebooks/*.ipynb from their .py texts
	$(BIN)/python notebooks/pair.py

bench-%: $(VENV)/.bench ## Run one benchmark: bench-overhead, bench-etl, bench-validate …
	$(BIN)/python benchmarks/$*.py

lock: $(VENV)/.dev ## Pin the requirements anew
	for set in dev bench; do $(BIN)/uv pip compile --quiet --no-header --python-version 3.11 requirements-$$set.in -o requirements-$$set.txt; done
	$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 -c requirements-dev.txt requirements.in -o requirements.txt
	for set in run spark; do $(BIN)/uv pip compile --quiet --no-header --python-version 3.11 -c requirements-dev.txt requirements-$$set.in -o requirements-$$set.txt; done
	$(BIN)/uv pip compile --quiet --no-header --python-version 3.11 --generate-hashes -c requirements-run.txt sagemaker_jobs/containers/requirements.in -o sagemaker_jobs/containers/requirements.txt

clean: ## Remove what was built; the home folder .triptych stays
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
