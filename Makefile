# What a contributor types. In a fresh clone, python3 (3.11 or newer), make and
# git are enough; scripts/ says what else is missing, or installs it.

PYTHON ?= python3
BIN := .venv/bin
CODE := $(wildcard src tests examples benchmarks scripts)

.PHONY: help test demo races format clean constraints

help:
	@echo "make test         everything that must hold: linters, types, layers, tests, coverage"
	@echo "make demo         a small app with sign-in, on this machine"
	@echo "make races        the same races on other session libraries, and a table of them"
	@echo "make format       put the code into shape"
	@echo "make constraints  renew requirements/constraints.txt"
	@echo "make clean        remove everything that can be made again"

test:
	$(PYTHON) scripts/bootstrap.py dev
	$(PYTHON) scripts/install_servers.py
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(CODE)
	$(BIN)/pyright --project pyproject.toml
	$(BIN)/lint-imports
	$(BIN)/pytest --cov

demo:
	$(PYTHON) scripts/bootstrap.py demo
	exec $(BIN)/python -m examples.demo.app

races:
	PYTHONPATH=scripts $(PYTHON) benchmarks/races/environment.py
	PYTHONPATH=src:src/adapters .venv-races/bin/python -m benchmarks.races

format:
	$(PYTHON) scripts/bootstrap.py dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

constraints:
	$(PYTHON) scripts/bootstrap.py constraints

clean:
	rm -rf .venv .venv-races .demo build dist htmlcov .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests scripts $(wildcard examples benchmarks) \
		'(' -name __pycache__ -o -name '*.egg-info' ')' -prune -exec rm -rf '{}' +
