# Everything runs from .venv, made here from the hashed lock. Needed: Python 3.11 or newer with its venv module, and make.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	$$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two `make`s at once must not build one environment twice; without flock (macOS) run one at a time.
LOCKED := $(shell command -v flock >/dev/null 2>&1 && echo "flock .venv.lock")

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-22s %s\n", $$1, $$2}' Makefile

demo: $(STAMP) ## a simulated venue, a flash crash and a real worker, live on this machine
	@$(BIN)/ringfence demo $(ARGS)

# A complaint of lint fails the run, but does not hide what the tests say. Tests without servers share the processors; those with
# servers, which look at clocks, have them to themselves.
test: $(STAMP) ## lint, then every test, fast ones first; Kafka tests need Java 17 and Maven
	@lint=0; tests=0; $(MAKE) --no-print-directory lint || lint=$$?; \
		$(if $(ARGS),$(BIN)/python -m pytest $(ARGS) || tests=$$?, \
		$(BIN)/python -m pytest -n auto --dist loadfile -m "not campaign and not kafka and not redis" || tests=$$?; \
		$(BIN)/python -m pytest -m "not campaign and (kafka or redis)" || tests=$$?); \
		[ $$tests = 0 ] || exit $$tests; \
		[ $$lint = 0 ] || echo "make: the tests passed, lint did not: see above" >&2; exit $$lint

setup: $(STAMP) ## make .venv from the hashed lock

lint: $(STAMP) ## ruff, mypy --strict, import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: $(STAMP) ## all benchmarks, JSON Lines on standard output
	@$(BIN)/python -m tests.bench $(ARGS)

modelcheck: $(STAMP) ## every interleaving of the order protocol and of the flush, up to the full bound; about ten minutes
	@$(BIN)/python -m tests.modelcheck

simulate: $(STAMP) ## SEEDS=n histories full of faults, simulated; CAMPAIGN=1 goes on until stopped, ARGS="--seed 7 --verbose" shows one
	@$(BIN)/python -m tests.simulation --processes 2 $(if $(CAMPAIGN),--campaign,--seeds $(or $(SEEDS),1000)) $(ARGS)

chaos: $(STAMP) ## MINUTES=n of faults on real processes, SEED=n, ARGS="--fills 3000"; one line of figures at the end
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),5) --seed $(or $(SEED),1) $(ARGS)

alerts: $(STAMP) ## break running workers until every alert has fired and cleared; about six minutes
	@$(BIN)/python -m pytest -m "campaign or not campaign" tests/integration/test_alerts_fire.py $(ARGS)

image: $(STAMP) ## run the image's build steps in a clean environment; about two minutes
	@$(BIN)/python -m pytest -m campaign tests/integration/test_image_steps.py $(ARGS)

schemas: $(STAMP) ## write the JSON Schemas from the message types
	@$(BIN)/ringfence schemas write $(ARGS)

lock: $(STAMP) ## resolve the dependencies again and write both lock files
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
		--extra build --extra otel pyproject.toml --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade \
		--all-extras --constraint requirements.lock pyproject.toml --output-file requirements-dev.lock

clean: ## remove the environment, caches and build results
	rm -rf $(VENV) .venv.lock .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	find services tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements-dev.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: needs Python 3.11 or newer with venv (Debian: apt-get install python3 python3-venv)" >&2; exit 2; fi
	@$(LOCKED) sh -e -c ' \
		if [ -f $@ ] && [ ! requirements-dev.lock -nt $@ ] && [ ! pyproject.toml -nt $@ ]; then exit 0; fi; \
		[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock; \
		$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .; \
		touch $@'

.PHONY: help demo test setup lint format bench simulate schemas lock clean modelcheck chaos alerts image
