# What a contributor types. In a fresh clone, python3 (3.11 or newer), make and
# git are enough; scripts/ says what else is missing, or installs it.

PYTHON ?= python3
BIN := .venv/bin
# Three at a time even on two cores, for tests often wait; what shares a server stays together,
# and what takes long comes first.
SHARED := --numprocesses 3 --dist loadscope --no-loadscope-reorder
CODE := $(wildcard src tests examples benchmarks scripts)

.PHONY: help test contract demo faults fuzz bench bench-docs bench-quick races format clean constraints

help:
	@echo "make test         everything that must hold: linters, types, layers, tests, coverage"
	@echo "make contract     every store by every client library through the one suite, and a table"
	@echo "make demo         a small site with sign-in, on this machine; STORE=redis://... or another"
	@echo "make faults       real servers, several clients, and everything fails; see ARGS=--help"
	@echo "make fuzz         the parsers against thousands of inputs more"
	@echo "make bench        how fast, how small and how flat, beside other libraries; takes a while"
	@echo "make bench-docs   the tables and plots of docs/, by the results of the last one"
	@echo "make bench-quick  the same in short, to see that it works"
	@echo "make races        the same races on other session libraries, and a table of them"
	@echo "make format       put the code into shape"
	@echo "make constraints  renew requirements/constraints.txt"
	@echo "make clean        remove everything that can be made again"

test:
	$(PYTHON) scripts/bootstrap.py dev
	$(PYTHON) scripts/install_servers.py
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@# Two at a time, each told in one piece.
	$(MAKE) --no-print-directory --jobs 2 --output-sync types pyright layers quick
	$(BIN)/pytest --cov $(SHARED)

.PHONY: types pyright layers quick
types:
	$(BIN)/mypy $(CODE)
pyright:
	$(BIN)/pyright --project pyproject.toml
layers:
	$(BIN)/lint-imports
quick:
	PYTHONPATH=tests $(BIN)/python -m benchmarks --quick

contract:
	$(PYTHON) scripts/bootstrap.py dev
	$(PYTHON) scripts/install_servers.py
	$(BIN)/pytest tests/contract $(SHARED)

# In the environment and as it was written: a URL may hold a password, and signs that mean
# something to a shell or to make.
demo: export SESSIONCORE_DEMO_STORE := $(or $(value STORE),$(value SESSIONCORE_DEMO_STORE))
demo:
	$(PYTHON) scripts/bootstrap.py demo
	exec $(BIN)/python -m examples.demo.app

faults:
	$(PYTHON) scripts/bootstrap.py dev
	$(PYTHON) scripts/install_servers.py
	PYTHONPATH=tests $(BIN)/python -m faults run $(ARGS)

fuzz:
	$(PYTHON) scripts/bootstrap.py dev
	$(BIN)/pytest tests/fuzz --hypothesis-profile=fuzz $(ARGS)

bench:
	$(PYTHON) scripts/bootstrap.py dev
	$(PYTHON) scripts/install_servers.py
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(or $(ARGS),--json benchmarks/results.json)

bench-docs:
	$(PYTHON) scripts/bootstrap.py dev
	PYTHONPATH=tests:src:src/adapters $(BIN)/python -m benchmarks.document benchmarks/results.json

bench-quick:
	$(PYTHON) scripts/bootstrap.py dev
	$(PYTHON) scripts/install_servers.py
	PYTHONPATH=tests $(BIN)/python -m benchmarks --quick $(ARGS)

races:
	$(PYTHON) scripts/bootstrap.py dev
	$(PYTHON) scripts/install_servers.py
	$(BIN)/python -m benchmarks.races

format:
	$(PYTHON) scripts/bootstrap.py dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

constraints:
	$(PYTHON) scripts/bootstrap.py constraints

clean:
	rm -rf .venv .demo .faults build dist htmlcov .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests scripts $(wildcard examples benchmarks) \
		'(' -name __pycache__ -o -name '*.egg-info' ')' -prune -exec rm -rf '{}' +
