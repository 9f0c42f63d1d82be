# Every target works on a fresh checkout: it makes .venv, installs the versions of constraints.txt
# and builds the native kernels first. Needs Python >= 3.9, pip and a C++ compiler.
#
#   make demo PYTHON=python3.12               another interpreter
#   make test PYTEST_ARGS="-x tests/core"     some of the tests
#   make bench BENCH_ARGS="kernels --json"    one of the measurements
#   make soak SEEDS=100000                    many simulated worlds
#   EDGESDK_BUILD_NATIVE=no make demo         without a C++ compiler
#   EDGESDK_BUILD_CUDA=yes make test          with a GPU: nothing else runs the CUDA module yet

PYTHON ?= python3
export EDGESDK_BUILD_NATIVE ?= yes
export EDGESDK_BUILD_CUDA ?= no

SEEDS ?= 10000
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --require-virtualenv install --disable-pip-version-check -c constraints.txt
BUILD_TOOLS := setuptools wheel Cython cmake numpy
BUILT_FROM := setup.py pyproject.toml CMakeLists.txt $(shell find csrc -type f 2>/dev/null)
CPP_FILES = $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu')

# The device side is Python 3.6: all of edgesdk and its tests but what only a workstation has.
PYTHON36 ?= $(shell .ci/find-python36)
DEVICE_VENV := .venv36
DEVICE_BIN := $(DEVICE_VENV)/bin
DEVICE_PIP_INSTALL := PATH="$(CURDIR)/$(DEVICE_BIN):$$PATH" \
  $(DEVICE_BIN)/python -m pip install --disable-pip-version-check -c constraints-device.txt
WORKSTATION_TESTS := tests/train tests/test_layout.py tests/test_readme.py tests/test_docs.py \
  tests/test_getting_started.py tests/pages.py tests/bench/test_images.py tests/sim/test_trial.py
WORKSTATION := edgesdk/train $(WORKSTATION_TESTS)
DEVICE_TIER = setup.py $(filter-out $(addsuffix %,$(WORKSTATION)),\
  $(shell find edgesdk tests examples -name '*.py'))

# setup.py looks for cmake there.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.NOTPARALLEL:  # all targets share one .venv
.PHONY: help demo test test-device device-tests test-aarch64 qemu lint format docs bench bench-deps \
  soak clean distclean

help:       ## list the targets
	@sed -n 's/^\([a-z0-9-]*\): .*## /make \1\t/p' Makefile | expand -t 20

demo: $(VENV)/.demo  ## run the demonstrations: one process, then a fleet of four
	$(BIN)/python -m edgesdk.demo $(DEMO_ARGS)
	@echo
	$(BIN)/python -m edgesdk.demo --workers 3 $(DEMO_ARGS)

test: $(VENV)/.develop  ## run every test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-device:  ## test the device side on Python 3.6, where there is one
	@if [ -n "$(PYTHON36)" ]; then $(MAKE) --no-print-directory device-tests PYTHON36="$(PYTHON36)"; else \
	  echo "make test-device: NOTHING TESTED: no python3.6 on PATH or among pyenv's versions;" \
	    "'pyenv install 3.6.15' makes one, PYTHON36=PATH names one"; fi

device-tests: $(DEVICE_VENV)/.develop
	$(DEVICE_BIN)/python -m pytest $(addprefix --ignore=,$(WORKSTATION_TESTS)) $(PYTEST_ARGS)

test-aarch64: qemu $(VENV)/.aarch64  ## test the C++ kernels as compiled for a Jetson, under qemu
	$(BIN)/python -m pytest tests/kernels/test_kernels_cpp.py -k aarch64 $(PYTEST_ARGS)

qemu:
	@command -v qemu-aarch64-static >/dev/null || command -v qemu-aarch64 >/dev/null || { echo \
	  "make test-aarch64 needs qemu; install it with: apt-get install qemu-user-static"; exit 1; }

lint: $(VENV)/.develop  ## check style, types and the Python version of the device tier
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)
	$(BIN)/mypy
	@echo vermin -t=3.6- "(all but $(WORKSTATION))"
	@$(BIN)/vermin --quiet --no-tips --violations --eval-annotations -t=3.6- $(DEVICE_TIER)

format: $(VENV)/.develop  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_FILES)

docs: $(VENV)/.docs  ## build the documents as a site: build/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "open build/docs/index.html; or with search: $(BIN)/python -m http.server -d build/docs"

bench: $(VENV)/.develop  ## measure, beside what one would use instead
	$(BIN)/python -m edgesdk.bench $(BENCH_ARGS)

bench-deps: $(VENV)/.develop  ## install what only benches compare with
	$(PIP_INSTALL) --no-build-isolation -e ".[bench,peers]"

soak: $(VENV)/.develop  ## simulate SEEDS worlds in which much goes wrong, under all checks
	$(BIN)/python -m edgesdk.soak --seeds $(SEEDS) $(SOAK_ARGS)

clean: ## remove what the build and the tools left, keep .venv
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f edgesdk/kernels/_native*.so edgesdk/kernels/_cuda*.so $(VENV)/.demo $(VENV)/.develop $(VENV)/.docs $(DEVICE_VENV)/.develop
	find edgesdk tests examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## remove .venv and .venv36 too
	rm -rf $(VENV) $(DEVICE_VENV)

# A stamp is touched last, so an installation that was interrupted is done again.

$(VENV)/.demo: $(VENV)/.tools $(BUILT_FROM)
	$(PIP_INSTALL) --no-build-isolation -e ".[demo]"
	@touch $@

$(VENV)/.develop: $(VENV)/.tools $(BUILT_FROM)
	$(PIP_INSTALL) --no-build-isolation -e ".[test,lint]"
	@touch $(VENV)/.demo $@

$(VENV)/.docs: $(VENV)/.tools $(BUILT_FROM)
	$(PIP_INSTALL) --no-build-isolation -e ".[docs]"
	@touch $@

$(VENV)/.aarch64: $(VENV)/.develop
	$(PIP_INSTALL) ziglang
	@echo "compiling ziglang's C++ library for aarch64, once: some minutes"
	@echo 'int main() {}' | $(BIN)/python -m ziglang c++ -w -target aarch64-linux-musl -x c++ - -o $@

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

$(DEVICE_VENV)/.develop: $(DEVICE_VENV)/.tools $(BUILT_FROM)
	$(DEVICE_PIP_INSTALL) --no-build-isolation -e ".[demo,zstd,lz4,metrics,top]" onnx pytest pytest-timeout hypothesis
	@touch $@

# pip, setuptools and wheel in one call: the pip of Python 3.6 alone picks releases that need more.
$(DEVICE_VENV)/.tools: constraints-device.txt Makefile
	@$(PYTHON36) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 6))' 2>/dev/null || { echo \
	  "PYTHON36=$(PYTHON36): found $$($(PYTHON36) --version 2>&1), expected Python 3.6"; exit 1; }
	$(PYTHON36) -m venv --clear $(DEVICE_VENV)
	$(DEVICE_PIP_INSTALL) pip setuptools wheel
	$(DEVICE_PIP_INSTALL) Cython cmake numpy
	@touch $@
