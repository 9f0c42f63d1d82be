# Every target works on a fresh checkout: it makes .venv, installs the versions of constraints.txt
# and builds the native kernels first. Needs Python >= 3.9, pip and a C++ compiler.
#
#   make demo PYTHON=python3.12               another interpreter
#   make test PYTEST_ARGS="-x tests/core"     some of the tests
#   make bench BENCH_ARGS="kernels --json"    one of the measurements
#   EDGESDK_BUILD_NATIVE=no make demo         without a C++ compiler

PYTHON ?= python3
export EDGESDK_BUILD_NATIVE ?= yes

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --require-virtualenv install --disable-pip-version-check -c constraints.txt
BUILD_TOOLS := setuptools wheel Cython cmake numpy
BUILT_FROM := setup.py pyproject.toml CMakeLists.txt $(shell find csrc -type f 2>/dev/null)
CPP_FILES = $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu')
DEVICE_TIER = $(shell find edgesdk -name '*.py' -not -path 'edgesdk/train/*')

# setup.py looks for cmake there.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.NOTPARALLEL:  # all targets share one .venv
.PHONY: help demo test lint format bench clean distclean

help:       ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /make \1\t/p' Makefile | expand -t 16

demo: $(VENV)/.demo  ## run the demonstration
	$(BIN)/python -m edgesdk.demo $(DEMO_ARGS)

test: $(VENV)/.develop  ## run every test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.develop  ## check style, types and the Python version of the device tier
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)
	$(BIN)/mypy
	@echo vermin -t=3.6- "(edgesdk without edgesdk/train)"
	@$(BIN)/vermin --quiet --no-tips --violations -t=3.6- $(DEVICE_TIER)

format: $(VENV)/.develop  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_FILES)

bench: $(VENV)/.develop  ## measure, beside what one would use instead
	$(BIN)/python -m edgesdk.bench $(BENCH_ARGS)

clean: ## remove what the build and the tools left, keep .venv
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f edgesdk/kernels/_native*.so $(VENV)/.demo $(VENV)/.develop
	find edgesdk tests examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf $(VENV)

# A stamp is touched last, so an installation that was interrupted is done again.

$(VENV)/.demo: $(VENV)/.tools $(BUILT_FROM)
	$(PIP_INSTALL) --no-build-isolation -e ".[demo]"
	@touch $@

$(VENV)/.develop: $(VENV)/.tools $(BUILT_FROM)
	$(PIP_INSTALL) --no-build-isolation -e ".[test,lint]"
	@touch $(VENV)/.demo $@

$(VENV)/.tools: constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || { echo \
	  "make needs Python 3.9 or newer, found: $$($(PYTHON) --version 2>&1); try make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "$(PYTHON) cannot make virtual environments; install its venv package (python3-venv)"; exit 1; }
	@test "$$EDGESDK_BUILD_NATIVE" = no || command -v c++ >/dev/null || { echo \
	  "no C++ compiler (c++) found; install one (g++), or set EDGESDK_BUILD_NATIVE=no"; exit 1; }
	@# Without its pyvenv.cfg a .venv is the interpreter it was made from: never install there.
	@$(BIN)/python -c 'import os, sys, pip; sys.exit(not os.path.samefile(sys.prefix, "$(VENV)"))' \
	  2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(PIP_INSTALL) $(BUILD_TOOLS)
	@touch $@
