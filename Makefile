# `make demo` and `make test` need Python 3.11, 3.12 or 3.13, bash and a package registry: each
# makes .venv if there is none (with uv if that is installed) and installs what it needs from the
# locked, hashed requirements. .venv/.runtime and .venv/.dev record what is installed.

SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
UV := $(shell command -v uv)

SUPPORTED := >=3.11,<3.14
IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))

ifdef UV
make_venv = uv venv --quiet --no-python-downloads --python '$(SUPPORTED)' $(VENV)
install = uv pip install --quiet --python $(PYTHON) --no-deps
else
make_venv = for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c '$(IS_SUPPORTED)' 2>/dev/null && exec $$python -m venv $(VENV); \
	done; false
# A .venv that uv made has no pip.
install = { $(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip >/dev/null; } \
	&& $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps
endif

.DEFAULT_GOAL := help
.PHONY: help venv demo check test bench services docs format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.dev ## Make .venv with everything for development

demo: $(VENV)/.runtime ## Start everything and run example transactions; ONCE=1 ends after them
	@$(PYTHON) -m examples.demo $(if $(filter-out 0,$(ONCE)),--once)

check: $(VENV)/.dev ## Lint, formatting, types and the direction of imports
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

test: $(VENV)/.dev ## All tests, with branch coverage; ARGS="-k name" picks some
	@$(PYTHON) -m pytest $(if $(ARGS),$(ARGS),--cov)

services: $(VENV)/.dev ## Start real servers on loopback and print their addresses; NAMES="redis mysql" some
	@scripts/services up $(NAMES)

BENCH = $(if $(filter-out 0,$(QUICK)),--quick) $(if $(ONLY),--only $(ONLY)) $(if $(DOC),--document)

bench: $(VENV)/.dev ## Measure; QUICK=1 in two minutes, ONLY=latency one part, DOC=1 into the docs
	@$(PYTHON) -m benchmarks $(BENCH)

docs: $(VENV)/.dev ## Generate docs/api.md from the API's OpenAPI document
	@$(PYTHON) -m dist_task_pipelines.api > docs/api.md

format: $(VENV)/.dev ## Fix what can be fixed automatically
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header pyproject.toml

lock: ## Update the pins in requirements/*.txt (needs uv; UPGRADE=1 takes the newest versions)
	@$(LOCK) $(if $(UPGRADE),--upgrade) --group build -o requirements/runtime.txt
	@$(LOCK) $(if $(UPGRADE),--upgrade) --extra redis --extra postgresql --group dev -o requirements/dev.txt

clean: ## Remove everything that the commands above made
	rm -rf $(VENV) .cache .demo .coverage* .*_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@rm -rf $(VENV)
	@( $(make_venv) ) || { rm -rf $(VENV); \
	echo 'No .venv: it needs Python $(SUPPORTED) with its venv module on the PATH.' >&2; exit 1; }

$(VENV)/.%: requirements/%.txt pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing $< into $(VENV)" >&2
	@$(install) --require-hashes -r $<
	@$(install) --no-build-isolation -e .
	@touch $@
