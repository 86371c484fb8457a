SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
READY := .venv/.installed
READY_313 := .venv-3.13/.installed
# the type checker's wrapper must not ask the network for a newer one
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help run demo test test-313 test-all check check-style check-types check-imports check-units bench services real docs lock format clean

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

run: $(READY) ## Start the API, the page and a worker here (tether up)
	@exec $(BIN)/tether up

demo: $(READY) ## The story of the product in under a minute, without any key
	@exec $(BIN)/tether demo

# most tests wait for deadlines, kills and restarts: two at once take half the time
test: $(READY) ## All tests, with real servers and processes; ARGS="-k name" picks some
	@scripts/services.sh
	@exec $(BIN)/python -m pytest --numprocesses=2 --dist=worksteal $(ARGS)

test-313: $(READY_313) ## The tests of units, fakes and processes on Python 3.13
	@exec .venv-3.13/bin/python -m pytest tests/unit tests/testing tests/processes $(ARGS)

test-all: test-313 test ## Both

# side by side, as the type checker alone keeps one core busy for half a minute
check: $(READY) ## Format, lint, types, import rules and unit tests, in under a minute
	@$(MAKE) --jobs=2 --output-sync=target --keep-going check-types check-style check-imports check-units

check-style:
	@$(BIN)/ruff format --check --quiet . || { echo "make format mends the formatting of:"; $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/ruff check --quiet .

check-types:
	@$(BIN)/pyright

check-imports:
	@$(BIN)/lint-imports --no-logo

check-units:
	@$(BIN)/python -m pytest -q tests/unit

bench: $(READY) ## Measure speed and memory, and print them beside their goals
	@exec $(BIN)/python benchmarks/run.py $(ARGS)

services: $(READY) ## Start the servers that tests use in the foreground and print their URLs
	@scripts/services.sh
	@exec $(BIN)/python tests/servers.py

real: $(READY) ## One task with a real local model (downloads 1.2 GB once, into ~/.cache/tether-real)
	@exec $(BIN)/python scripts/real_model.py $(ARGS)

docs: $(READY) ## Write the generated pages of docs/reference again
	@exec $(BIN)/python scripts/reference.py

format: $(READY) ## Format the code and mend what the linter can
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

lock: $(READY) ## Resolve requirements.lock again from pyproject.toml; ARGS="--upgrade" takes newer releases
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet $(ARGS) -o requirements.lock

clean: ## Remove what was built here, the virtual environments too
	@rm -rf .venv .venv-3.13 .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist

$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh .venv

$(READY_313): requirements.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh .venv-3.13 "$$(scripts/python.sh 3.13)"
