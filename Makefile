# SPDX-License-Identifier: AGPL-3.0-or-later
# The commands of this project. Python 3.11+ and git are all that has to be there.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install install-dev up test lint lint-style lint-types lint-layers lint-lock format bench
.PHONY: bench-proxy bench-office offices e2e harpbridge pictures clean

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
FOLDER ?= $(HOME)/Harp
ROUNDS ?= 3
ROWS ?= all
THREADS ?= 1,2
REFERENCE ?=
NEXTCLOUD ?=
PYTEST_ARGS ?=
# Most tests wait for something: twice as many at once as there are cores.
WORKERS ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 1))))

# The first of these that is new enough.
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$each; break; }; done)

# What is installed beside the lock's versions (uv itself) stays: --inexact.
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
export UV_HTTP_TIMEOUT := 180
export UV_LINK_MODE := copy
# Where the machine has a store of certificates, it counts: a firm's proxy may have put its own there.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt),true,false)
# Each start of a daemon or a command would compile all modules for itself, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE
SYNC := $(BIN)/uv sync --quiet --frozen --inexact

help: ## what can be asked for
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "Harp needs Python 3.11 or newer, and found none: sudo apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "this Python cannot make a venv: sudo apt install python3-venv, then again" >&2; exit 1; }

$(BIN)/uv: | $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: pyproject.toml uv.lock | $(BIN)/uv
	@$(SYNC) --no-default-groups
	@touch $@

$(VENV)/.installed-dev: pyproject.toml uv.lock | $(BIN)/uv
	@$(SYNC) --group dev
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed ## install Harp into .venv
	@:

install-dev: $(VENV)/.installed-dev ## and what the tests and checks need
	@:

up: install ## install, then run Harp on ~/Harp (FOLDER=… for another one)
	@benchmarks/install-peers haproxy
	@exec $(BIN)/harp up "$(FOLDER)"

test: install-dev ## all tests, twice as many at once as there are cores (WORKERS=… for another number; PYTEST_ARGS=… is passed on)
	@benchmarks/install-peers haproxy
	@exec $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

e2e: install-dev ## on a real Nextcloud, which stays as it is (NEXTCLOUD=/path/to/its/tree); as root with a Docker Engine too
	@test -n "$(NEXTCLOUD)" || { echo "which Nextcloud? make e2e NEXTCLOUD=/path/to/its/tree" >&2; exit 2; }
	@benchmarks/install-peers haproxy wrk
	@tests/e2e/install-servers
	@NEXTCLOUD="$(NEXTCLOUD)" $(BIN)/python -m pytest --numprocesses 0 tests/e2e $(PYTEST_ARGS)
	@NEXTCLOUD="$(NEXTCLOUD)" $(BIN)/python -m tests.e2e.figures --rounds "$(ROUNDS)"
	@NEXTCLOUD="$(NEXTCLOUD)" $(BIN)/python -m tests.e2e.uploads --rounds "$(ROUNDS)"

lint: lint-style lint-types lint-layers lint-lock ## style, types, layers, and whether uv.lock fits pyproject.toml

lint-style: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: install-dev
	$(BIN)/mypy src benchmarks tests

lint-layers: install-dev
	$(BIN)/lint-imports

lint-lock: install-dev
	$(BIN)/uv lock --check --quiet

format: install-dev ## put the sources into the house's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pictures: install-dev ## the tutorial's pictures of the console, taken anew by Chromium
	$(BIN)/python -m tests.browser.pictures docs/tutorial

bench: install ## Harp, Syncthing and rsync in turn (ROUNDS=3 ROWS=all)
	@benchmarks/install-peers syncthing rsync
	@exec $(BIN)/python -m benchmarks --rounds "$(ROUNDS)" --rows "$(ROWS)"

bench-proxy: install ## Harp as a proxy, plain HAProxy, and a checkout of the reference (REFERENCE=… THREADS=1,2)
	@benchmarks/install-peers haproxy wrk
	@exec $(BIN)/python -m benchmarks.proxy --rounds "$(ROUNDS)" --rows "$(ROWS)" --threads "$(THREADS)" \
		$(if $(REFERENCE),--reference "$(REFERENCE)")

bench-office: ROUNDS = 1
bench-office: install ## a cloud, a Nextcloud (NEXTCLOUD=…), offices with one slow line, in network namespaces; needs root
	@benchmarks/install-peers syncthing iperf3
	@test -z "$(NEXTCLOUD)" || tests/e2e/install-servers
	@NEXTCLOUD="$(NEXTCLOUD)" exec $(BIN)/python -m benchmarks.office --rounds "$(ROUNDS)" --rows "$(ROWS)"

offices: install ## 1,000 random offices with a clock of their own: what crosses the WAN, whoever fails (OFFICES=1000)
	@exec $(BIN)/python -m benchmarks.offices --offices "$(or $(OFFICES),1000)"

harpbridge: ## the Nextcloud app as a repository of its own and as an archive, in build/
	@packaging/harpbridge

clean: ## forget what was installed and remembered
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache benchmarks/results
