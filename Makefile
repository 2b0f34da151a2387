# `make demo` and `make test` need nothing but Python 3.11 or later; everything goes into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   := runs/demo_data
BENCH  ?=
PART   ?=

.DEFAULT_GOAL := help
.PHONY: help install dev demo demo-isotropic demo-anisotropic test test-fast lint types docs bench bench-smoke build containers clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,mongodb,postgresql]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed-dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

install: $(VENV)/installed  ## Install Catena into .venv

dev: $(VENV)/installed-dev  ## Install it with everything for development

demo: install demo-isotropic demo-anisotropic  ## Synthesise EM, train, segment, score and draw it: about ten minutes

demo-isotropic: install
	$(BIN)/catena synthesise $(DEMO)/isotropic.zarr --shape 192,216,216 --voxel-size 8,8,8 --calibre 1.2 --seed 1
	$(BIN)/catena run configs/local_shape_descriptors/demo.yaml

demo-anisotropic: install
	$(BIN)/catena synthesise $(DEMO)/anisotropic.zarr --shape 48,256,256 --voxel-size 40,8,8 --calibre 1.2 --seed 4
	$(BIN)/catena run configs/local_shape_descriptors/demo_anisotropic.yaml

test: dev  ## Run all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: dev  ## Run the tests that take seconds
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow'

lint: dev  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev  ## Check types
	$(BIN)/mypy

docs: dev  ## Build the documentation into site/
	$(BIN)/mkdocs build --strict --quiet

bench: dev $(VENV)/installed-bench  ## Run benchmarks: make bench, make bench BENCH=blockwise, and of that PART=layout
	$(BIN)/python -m benchmarks $(BENCH) $(addprefix --part ,$(PART))

bench-smoke: dev $(VENV)/installed-bench  ## Run every benchmark at its smallest size
	$(BIN)/python -m benchmarks --smoke $(BENCH) $(addprefix --part ,$(PART))

build: dev  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist

containers:  ## Build the container image and run a tiny demo in it: minutes
	containers/build.sh

clean:  ## Remove what was built, compiled kernels too (not .venv, not runs)
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache
	find catena local_shape_descriptors data_prep -path '*/__pycache__/*.nb[ic]' -delete
