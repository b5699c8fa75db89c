# Every command installs what it needs into .venv first, and does no pip work when nothing has changed.
#   make demo      a picture: one sentence translated and attributed, in the terminal and in demo.html
#   make test      every test                  make fast-test  those that take no time (under a minute)
#   make lint      style, types, layers        make install    the environment alone
#   make bench     speed and memory            make bench-peer the same beside inseq 0.7.1, in an environment of its own
#   make docs      the site, in docs/_build    make build      wheels and archives of every package, in dist
#   make clean     remove what these commands made, the environment included

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed
WORKERS ?= 2

PACKAGES := $(sort $(patsubst %/pyproject.toml,%,$(wildcard inseq_*/pyproject.toml plugins/*/pyproject.toml)))
SOURCES := $(wildcard inseq_*/src plugins/*/src)

.DEFAULT_GOAL := help
.PHONY: help install demo test fast-test lint format bench bench-peer docs build clean

help:
	@sed -n '2,/^$$/p' Makefile | sed 's/^# \{0,1\}//'

install: $(STAMP)

# Entry points are read from installed metadata, so a changed pyproject.toml needs a new install. hatchling goes
# in first and is then used as it is: a build environment of its own for each package would take a minute.
$(STAMP): constraints.txt requirements-dev.txt pyproject.toml $(addsuffix /pyproject.toml,$(PACKAGES))
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --no-compile --constraint constraints.txt hatchling editables
	$(PY) -m pip install --quiet --no-compile --no-build-isolation --requirement requirements-dev.txt
	touch $@

demo: $(STAMP)
	@$(PY) -m inseq_demo.walkthrough --output demo.html

# Two workers, whole files each: fixtures of a file are made once, and every test has a core.
test: $(STAMP)
	$(PY) -m pytest -n $(WORKERS) --dist loadfile

fast-test: $(STAMP)
	$(PY) -m pytest -n $(WORKERS) --dist loadfile -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(PY) tests/benchmarks/run.py

bench-peer: $(STAMP)
	$(PY) tests/benchmarks/peer.py

docs: $(STAMP)
	$(BIN)/sphinx-build --fail-on-warning --keep-going docs docs/_build/html

build: $(STAMP)
	rm -rf dist
	for package in . $(PACKAGES); do $(PY) -m build --no-isolation --outdir dist $$package || exit 1; done

clean:
	rm -rf $(VENV) dist docs/_build demo.html .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find inseq_* plugins tests docs -type d -name __pycache__ -prune -exec rm -rf {} +
