# Every target does its own set-up; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' constraints.txt)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench wheel clean

help:
	@echo "make demo   train three surrogates on a small problem, write runs/demo/report.html"
	@echo "make test   run the tests"
	@echo "make lint   ruff and pyright"
	@echo "make docs   build the documentation into site/"
	@echo "make bench  run the benchmarks, write benchmarks/results/"
	@echo "make wheel  build dist/*.whl"
	@echo "make clean  remove what the targets above built, results in runs/ excepted"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: Python 3.11 or newer is needed, $(PYTHON) is %d.%d; name another with PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

# torch first: it is the largest download, and later installs then leave it alone.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install $(TORCH)
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

$(VENV)/.compare: $(VENV)/.core
	$(PIP) install -c constraints.txt -e '.[compare]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/pdesurrogates demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.compare
	@set -e; for script in $(filter-out benchmarks/harness.py,$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python "$$script"; done

wheel: $(VENV)/.dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache
	find pdesurrogates tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
