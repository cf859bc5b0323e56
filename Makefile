# Every target makes .venv by itself when it is missing or older than what it is made from.
#
#   make install      the environment alone
#   make demo         the main job on a small synthetic world: `make help` lists the rest
#
# PYTHON       the interpreter that makes .venv (3.10 or newer)
# TORCH_INDEX  a package index to take torch from beside the usual one; for a machine without a
#              GPU: make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
# WHEELS       a folder that `make wheelhouse` filled, for a machine without network:
#              make install WHEELS=wheelhouse

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
TORCH_INDEX ?=
WHEELS ?=
EXTRAS := eval,gguf,lora,mlflow,monitor,remote,scan,trackio,wandb,docs,dev
VENV := .venv
STAMP := $(VENV)/.installed
VENV4 := .venv-transformers4
STAMP4 := $(VENV4)/.installed
VENV_LLAMA := .venv-llama-cpp
STAMP_LLAMA := $(VENV_LLAMA)/.installed
PIP_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PIP_SOURCE := $(if $(WHEELS),--no-index --find-links $(WHEELS),$(PIP_INDEX))

# Launchers and tools are those of .venv.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help install wheelhouse demo demo-chinese-only test test-times test-faults test-exhaustive families lint docs bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "linly needs Python 3.10 or newer; found " + sys.version.split()[0] + " (choose another with PYTHON=...)")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(PIP_SOURCE) --upgrade pip
	$(VENV)/bin/python -m pip install $(PIP_SOURCE) -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

# transformers 4, which reads exports in the tests; everything else it takes from .venv. Without
# network those tests are skipped.
$(STAMP4): $(STAMP)
	rm -rf $(VENV4)
	$(VENV)/bin/python -m venv $(VENV4)
	purelib='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	echo "import site; site.addsitedir('$$($(VENV)/bin/python -c "$$purelib")')" \
		> "$$($(VENV4)/bin/python -c "$$purelib")/shared.pth"
	if $(VENV4)/bin/python -m pip install -q $(PIP_SOURCE) 'transformers==4.57.*'; then touch $@; \
	else rm -rf $(VENV4); echo 'no transformers 4: the tests that need it are skipped' >&2; fi

# llama.cpp and its converter, which read exports in the tests: both are in the source distribution of
# llama-cpp-python, which is built here (a C++ compiler; 6 minutes on two cores). Not made by
# `make test`: without it those tests are skipped.
$(STAMP_LLAMA): $(STAMP)
	rm -rf $(VENV_LLAMA)
	$(VENV)/bin/python -m venv $(VENV_LLAMA)
	purelib='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	echo "import site; site.addsitedir('$$($(VENV)/bin/python -c "$$purelib")')" \
		> "$$($(VENV_LLAMA)/bin/python -c "$$purelib")/shared.pth"
	mkdir $(VENV_LLAMA)/source
	$(VENV_LLAMA)/bin/python -m pip download -q --no-deps --no-binary llama-cpp-python \
		-d $(VENV_LLAMA) 'llama-cpp-python==0.3.36'
	tar -xzf $(VENV_LLAMA)/llama_cpp_python-*.tar.gz --strip-components=1 -C $(VENV_LLAMA)/source
	CMAKE_ARGS='-DLLAVA_BUILD=OFF' $(VENV_LLAMA)/bin/python -m pip install -q \
		$(VENV_LLAMA)/llama_cpp_python-*.tar.gz
	touch $@

install: $(STAMP)  ## make .venv with the versions of constraints.txt

wheelhouse: $(STAMP)  ## all wheels of an installation, for a machine of this kind without network
	python -m pip wheel $(PIP_INDEX) -c constraints.txt -w wheelhouse pip 'setuptools>=77' '.[$(EXTRAS)]'

demo: $(STAMP)  ## English base, vocabulary, curriculum training and report on a synthetic world
	bash demo/run.sh mixture

demo-chinese-only: $(STAMP)  ## after `make demo`: the same number of steps on Chinese alone, to compare
	bash demo/run.sh chinese-only

test: $(STAMP) $(STAMP4)  ## all tests but the many-kill ones, the benchmarks and the real data
	python -m pytest -q -n 2 --dist loadfile -m 'not faults and not benchmark and not exhaustive' tests

test-times: $(STAMP) $(STAMP4)  ## the same tests, and the processor seconds of each file
	rm -rf build/test-times
	python -m pytest -q -n 2 --dist loadfile -p tests.support.cpu_times \
		-m 'not faults and not benchmark and not exhaustive' tests
	python -m tests.support.cpu_times

test-faults: $(STAMP)  ## the tests that kill processes and break files many times (long)
	python -m pytest -q -s -m faults tests

test-exhaustive: $(STAMP)  ## all real text and vocabularies, all model families, a 2 GB model (long, 5 GB of disk)
	python -m pytest -q -s -m exhaustive tests

families: $(STAMP) $(STAMP4) $(STAMP_LLAMA)  ## each family of models through the whole method; rewrites docs/families.md (minutes)
	python -m tests.family_table

lint: $(STAMP)  ## ruff, its formatter, mypy --strict
	ruff check .
	ruff format --check .
	mypy --strict linly

docs: $(STAMP)  ## the documentation site in build/site; a warning is an error, and nothing is fetched
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --quiet

bench: $(STAMP)  ## speed and memory, each beside its alternative (leave the machine alone meanwhile)
	python -m pytest -q -s -m benchmark tests/benchmarks

clean:  ## remove the demo's folder and caches (not .venv, not runs/)
	rm -rf demo/output .mypy_cache .ruff_cache .pytest_cache .hypothesis
