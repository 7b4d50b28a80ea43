# Every target that needs the environment makes it first, or repairs it (tools/setup_env.py), and is safe to run again.
#   PYTHON  Python to make the environment with, 3.10 or newer
#   TORCH   2.14 (default) or 2.11, the two tested releases; each has an environment of its own
#   ARGS    more arguments for the tool: make demo ARGS=--help, make test ARGS="-k partition"
#   JOBS    processes that share the tests; each takes one core and up to 2 GiB

PYTHON ?= python3
TORCH ?= 2.14
JOBS ?= 2
ARGS ?=
ifeq ($(TORCH),2.14)
VENV ?= .venv
else
VENV ?= .venv-torch$(TORCH)
endif
RUN := $(VENV)/bin/python

# Packages of another environment (ROS and cluster modules set these) would hide the pinned ones.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint benchmark clean

help:
	@echo "make demo   set up, train a small Mask R-CNN on drawn images, evaluate it, draw what it found"
	@echo "make test   set up, run lint and all tests     (ARGS=\"-k name\" picks tests, JOBS=$(JOBS))"
	@echo "make setup  set up $(VENV) alone: pinned versions, 6.4 GB (TORCH=2.11: the PyTorch before)"
	@echo "make lint   set up, run ruff"
	@echo "make benchmark  set up, measure speed and memory beside timm and torchvision (CPU, 12 to 15 minutes)"
	@echo "make clean  remove the environments and caches; results in work_dirs/ and data/ stay"

# The version is asked here, in words that any Python understands; tools/setup_env.py is written for 3.10.
setup:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "set-up: there is no $(PYTHON) here. Install Python 3.10 or \
	newer, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "set-up: $(PYTHON) is \
	`"$(PYTHON)" --version 2>&1`; Python 3.10 or newer is needed. Name one: make $(MAKECMDGOALS) PYTHON=python3.12" \
	>&2; exit 2; }
	@"$(PYTHON)" tools/setup_env.py --venv "$(VENV)" --torch "$(TORCH)"

demo: setup
	"$(RUN)" tools/demo.py $(ARGS)

test: setup lint
	OMP_NUM_THREADS=1 "$(RUN)" -m pytest -n $(JOBS) --dist worksteal --durations=15 -r s $(ARGS)

lint: setup
	"$(RUN)" -m ruff check .

benchmark: setup
	"$(RUN)" tools/benchmark.py --preset cpu $(ARGS)

clean:
	rm -rf .venv .venv-torch* .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -not -path "./.git/*" -prune -exec rm -rf {} +
