# Every command a developer or an operator needs. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready-$(shell cat requirements.lock bootstrap.lock pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)
# Beside the environment and not in it: Locust puts itself into pytest and into the sockets of whatever imports it.
LOAD_STAMP := .load/.ready-$(shell cat load.lock 2>/dev/null | cksum | cut -d' ' -f1)

export PYTHONUNBUFFERED := 1
# Nothing outside this folder is touched, caches of packages included.
export UV_NO_CACHE := 1

.PHONY: help setup up test check e2e format lint types imports bench load fuzz check-deps protos golden requirements attacks lock clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit("apibank needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV) from requirements.lock; this happens once and takes about half a minute ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r bootstrap.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-build-isolation --no-deps --editable .
	@rm -f $(VENV)/.ready-* && touch $@

setup: $(STAMP) ## make .venv ready (nothing outside this folder is touched)

up: setup ## run the whole federation on this machine until Ctrl-C
	@exec $(BIN)/apibank up

test: static $(LOAD_STAMP) ## every test, after the static checks
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not e2e" tests clients
	@$(BIN)/python -m pytest -q -m browser tests
	@$(BIN)/python -m pytest -q -m "e2e and not browser" tests

check: static ## the quick loop: format, lint, types, imports, unit, property, golden
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not e2e" tests/unit tests/property tests/golden clients

.PHONY: static
static: format-check lint types imports ## format, lint, types and import rules

format: setup ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix-only --quiet .

.PHONY: format-check
format-check: setup
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }

lint: setup
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports --no-cache

e2e: setup $(LOAD_STAMP) ## only the tests through real Envoys
	@$(BIN)/python -m pytest -q -m browser tests
	@$(BIN)/python -m pytest -q -m "e2e and not browser" tests

protos: setup ## regenerate protos/*_pb2*.py from protos/*.proto
	@$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. protos/*.proto

golden: setup ## rewrite the golden files of the compiler (read the diff before you commit it)
	@$(BIN)/python -m pytest -q tests/golden --update-golden

requirements: setup ## regenerate docs/requirements.md and list what no test shows yet
	@$(BIN)/python -m tests.support.requirements

attacks: setup ## regenerate docs/attacks.md and list the attacks that no test makes
	@$(BIN)/python -m tests.support.attacks

bench: setup ## every benchmark, as bench/README.md describes
	@$(BIN)/python -m bench

FUZZ_STAMP := $(VENV)/.fuzz-$(shell cat fuzz.lock 2>/dev/null | cksum | cut -d' ' -f1)
FUZZ_SECONDS ?= 60

$(FUZZ_STAMP): $(STAMP)
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r fuzz.lock
	@rm -f $(VENV)/.fuzz-* && touch $@

fuzz: $(FUZZ_STAMP) ## search what reads tokens, signatures, bodies and paths for surprises (FUZZ_SECONDS each, 60)
	@for name in token signature body path; do $(BIN)/python -m tests.fuzz $$name $(FUZZ_SECONDS) || exit 1; done

# Two environments apart from ours: the tools, and what the image installs, as it would be there.
AUDIT := $(VENV)/audit
SHIPPED := $(VENV)/shipped
AUDIT_STAMP := $(VENV)/.audit-$(shell cat audit.lock deploy/requirements.lock 2>/dev/null | cksum | cut -d' ' -f1)

$(AUDIT_STAMP): $(STAMP)
	@rm -rf $(AUDIT) $(SHIPPED) $(VENV)/.audit-*
	@$(BIN)/python -m venv --without-pip $(AUDIT) && $(BIN)/python -m venv --without-pip $(SHIPPED)
	@VIRTUAL_ENV=$(AUDIT) $(BIN)/uv pip install --quiet --require-hashes -r audit.lock
	@VIRTUAL_ENV=$(SHIPPED) $(BIN)/uv pip install --quiet --require-hashes -r deploy/requirements.lock
	@touch $@

# Without the network, or where a package is not found, it fails: what was not asked is not good.
check-deps: $(AUDIT_STAMP) ## what we ship as dist/apibank.cdx.json (CycloneDX), and whether any of it is known to be vulnerable
	@mkdir -p dist
	@$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/apibank.cdx.json $(SHIPPED)/bin/python
	@for lock in deploy/requirements.lock requirements.lock; do \
	    echo "$$lock:"; $(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --cache-dir $(AUDIT)/cache \
	        --progress-spinner off -r $$lock || exit 1; done

$(LOAD_STAMP): $(STAMP)
	@rm -rf .load
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes --target .load -r load.lock
	@touch $@

load: $(LOAD_STAMP) ## offer a whole federation what it shall bear, and report (LOAD: sustained spike agents mixed stress)
	@PYTHONPATH=.load $(BIN)/python -m bench.load $(LOAD)

.PHONY: soak
SOAK_MINUTES ?= 10
soak: setup ## whether memory, descriptors and durations stay as they are under load and changes (SOAK_MINUTES)
	@$(BIN)/python -m bench.soak --minutes $(SOAK_MINUTES)

UV_LOCK := $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header -q
# Not after `setup`, which a package that cannot be had would keep from ever being resolved again.
lock: ## resolve every lock file anew: ours, the installer's, and those of the image
	@$(UV_LOCK) pyproject.toml --group dev --extra postgres -o requirements.lock
	@echo uv | $(UV_LOCK) - -o bootstrap.lock
	@$(UV_LOCK) --group fuzz -c requirements.lock -o fuzz.lock
	@$(UV_LOCK) --group load -c requirements.lock -o load.lock
	@$(UV_LOCK) --group audit -o audit.lock
	@$(UV_LOCK) pyproject.toml --extra postgres --no-annotate -c requirements.lock -o deploy/requirements.lock
	@echo hatchling | $(UV_LOCK) - --no-annotate -c requirements.lock -o deploy/build.lock

clean: ## remove what make made (.venv, .apibank, .fuzz, .load)
	@rm -rf $(VENV) .apibank .fuzz .load .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
