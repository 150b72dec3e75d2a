# The two set-up commands: `make demo` and `make test`. Each builds its own .venv from nothing.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One thread per process: the work is parallel over processes, and oversubscribed threads are several times slower.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help install demo test test-browser lint format clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "Installing equipose into $(VENV) (about a minute; torch is the largest part)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

install: $(VENV)/.installed ## build the virtual environment

demo: $(VENV)/.installed ## simulate, train twice, explain: writes demo/report.html
	$(BIN)/equipose quickstart --out demo

test: $(VENV)/.installed lint ## the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not browser"

test-browser: $(VENV)/.installed ## checks that need Debian's chromium
	$(BIN)/python -m pytest -m browser

lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what the other targets made
	rm -rf $(VENV) demo
