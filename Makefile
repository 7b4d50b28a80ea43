# Every target that needs the environment makes it first, or brings it up to date, and is safe to run again.
#   PYTHON  Python to make the environment with, 3.10 to 3.14
#   TORCH   2.14 (default) or 2.11, tested releases; each has an environment of its own
#   VENV    folder of the environment
#   ARGS    more arguments for the tool: make demo ARGS=--help, make test ARGS="-k partition"
#   JOBS    processes that share the tests; each takes one core and up to 2 GiB

PYTHON ?= python3
TORCH ?= 2.14
JOBS ?= 2
MINUTES ?= 10
ARGS ?=
ifeq ($(TORCH),2.14)
VENV ?= .venv
else
VENV ?= .venv-torch$(TORCH)
endif
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.maxvit_dense
MARK := .made_by_maxvit_dense
PINS := requirements/pinned.txt
TORCH_PINS := requirements/torch-$(TORCH).txt
# Byte code of 14,000 files, few of them ever imported, would take 40% of the set-up's computing time.
PIP := PIP_USER=0 PYTHONWARNINGS=ignore $(RUN) -m pip install --disable-pip-version-check --no-compile

# Packages of another environment (ROS and cluster modules set these) would hide the pinned ones.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults test-upstream test-clients test-oldest lint benchmark results-bccd results-camvid results-cifar10 dist clean

help:
	@echo "make demo   set up, train a small Mask R-CNN on drawn images, evaluate it, draw what it found"
	@echo "make test   set up, run lint and all tests     (ARGS=\"-k name\" picks tests, JOBS=$(JOBS))"
	@echo "make test-upstream  the tests that touch OpenMMLab, with upstream's mmengine, mmcv-lite, mmdet, mmsegmentation"
	@echo "make test-clients   smp, transformers, PEFT, lightning, OpenVINO, ... with our networks"
	@echo "make test-faults    a training killed and resumed, bytes flipped, two processes stopped, for MINUTES=$(MINUTES)"
	@echo "make test-oldest    the core with the least PyTorch and timm that it runs on (an environment of its own, 5 GB)"
	@echo "make results-bccd    train and evaluate on BCCD (BCCD=folder, CONFIG=peer, STEPS=fewer); docs/results.md"
	@echo "make results-camvid  train and evaluate on CamVid (CAMVID=folder, STEPS=fewer); docs/results.md"
	@echo "make results-cifar10 train and evaluate on CIFAR-10 (CIFAR10=folder, CONFIG=peer, EPOCHS=fewer); docs/results.md"
	@echo "make setup  set up $(VENV) alone: pinned versions, 6.4 GB (TORCH=2.11: the PyTorch before)"
	@echo "make lint   set up, run ruff"
	@echo "make dist   build wheel and sdist in dist/ and check them"
	@echo "make benchmark  set up, measure speed and memory beside timm and torchvision (CPU, about a quarter of an hour)"
	@echo "make clean  remove the environments and caches; results in work_dirs/ and data/ stay"

setup: $(STAMP)

# $(call venv,FOLDER) begins the recipe of FOLDER/.maxvit_dense, and `touch $@` ends it. It makes an environment where
# the last recipe was not finished, for pip would trust half a package; else there is one to bring up to date. A folder
# that holds something and was not made here is left alone.
define venv
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "set-up: there is no $(PYTHON) here. Install Python 3.10 or \
	newer, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' || { echo "set-up: $(PYTHON) is \
	`"$(PYTHON)" --version 2>&1`; the pinned packages have builds for 3.10 to 3.14. Name one: make $(MAKECMDGOALS) \
	PYTHON=python3.12" >&2; exit 2; }
	@test -z "`ls -A "$(1)" 2>/dev/null`" || test -e "$(1)/$(MARK)" || { echo "set-up: $(1) was not made here, so it is \
	left alone. Remove it, or name another folder: make $(MAKECMDGOALS) VENV=.venv-maxvit" >&2; exit 2; }
	@{ test -e $@ && "$(1)/bin/python" -c 'import pip' 2>/dev/null; } || { mkdir -p "$(1)" && touch "$(1)/$(MARK)" && \
	find "$(1)/" -mindepth 1 ! -name $(MARK) -delete && "$(PYTHON)" -m venv "$(1)"; } || { echo "set-up: $(PYTHON) \
	makes no environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@rm -f $@
endef

$(STAMP): $(PINS) $(TORCH_PINS) setup.cfg setup.py pyproject.toml maxvit_dense/__init__.py
	$(call venv,$(VENV))
	@echo "set-up 1/4: pip"
	@$(PIP) --quiet -c $(PINS) pip setuptools wheel
	@echo "set-up 2/4: PyTorch $(TORCH) with its CUDA libraries (about 2.5 GB to download)"
	@$(PIP) -c $(PINS) -c $(TORCH_PINS) torch torchvision
	@echo "set-up 3/4: timm, OpenMMLab and the test tools"
	@$(PIP) --no-deps --build-constraint $(PINS) -r $(PINS)
	@echo "set-up 4/4: maxvit_dense"
	@$(PIP) --quiet --no-deps --no-build-isolation -e .
	@"$(RUN)" -c "import torchvision, cv2, mmengine, mmcv, pycocotools.mask, tensorboard, maxvit_dense"
	@touch $@

demo: setup
	"$(RUN)" tools/demo.py $(ARGS)

test: setup lint
	OMP_NUM_THREADS=1 "$(RUN)" -m pytest -n $(JOBS) --dist worksteal --durations=15 -r s $(ARGS)

# Upstream's packages lie in a folder before the maintained ones; mmcv-lite brings a package tests/ that would hide ours.
UPSTREAM := $(VENV)/upstream
$(UPSTREAM)/.done: requirements/upstream.txt | $(STAMP)
	rm -rf $(UPSTREAM)
	$(PIP) --no-deps --target $(UPSTREAM) -r $<
	rm -rf $(UPSTREAM)/tests
	@touch $@

UPSTREAM_TESTS := $(addprefix tests/test_,openmmlab_backbone.py configs.py own_files.py training_guard.py mmcv_ext.py \
	segmentation.py crop_size.py tools.py)
test-upstream: setup $(UPSTREAM)/.done
	PYTHONPATH="$(CURDIR):$(abspath $(UPSTREAM))" OMP_NUM_THREADS=1 "$(RUN)" -m pytest -n $(JOBS) --dist worksteal -r s \
	$(UPSTREAM_TESTS) $(ARGS)

test-faults: setup
	OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= "$(RUN)" -m tests.faults $(MINUTES)

.venv-oldest/.maxvit_dense: requirements/oldest.txt
	$(call venv,.venv-oldest)
	.venv-oldest/bin/python -m pip install --disable-pip-version-check --no-compile -r $<
	@touch $@

OLDEST_TESTS := $(addprefix tests/,$(addprefix test_,any_size.py timm_parity.py timm_interface.py timm_compilers.py mbconv.py partition.py \
	rel_pos.py recompute.py features.py ragged.py) clients/test_layers.py clients/test_torch_func.py)
test-oldest: .venv-oldest/.maxvit_dense
	PYTHONPATH="$(CURDIR)" OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n $(JOBS) --dist worksteal -r s \
	$(OLDEST_TESTS) $(ARGS)

CLIENTS := $(VENV)/clients
$(CLIENTS)/.done: requirements/clients.txt | $(STAMP)
	rm -rf $(CLIENTS)
	$(PIP) --no-deps --target $(CLIENTS) -r $<
	@touch $@

test-clients: setup $(CLIENTS)/.done
	PYTHONPATH="$(CURDIR):$(abspath $(CLIENTS))" OMP_NUM_THREADS=1 "$(RUN)" -m pytest -n $(JOBS) -r s tests/clients $(ARGS)

lint: setup
	"$(RUN)" -m ruff check .

benchmark: setup
	"$(RUN)" tools/benchmark.py --preset cpu $(ARGS)

# Figures of docs/results.md, made again; each ends with those of the docs beside its own. CONFIG names a peer's config,
# STEPS another length, SEED another seed, INIT a checkpoint for the backbone to start from.
BCCD ?= data/BCCD
CAMVID ?= data/camvid
CIFAR10 ?= data/cifar10
CONFIG ?=
STEPS ?=
EPOCHS ?=
SEED ?= 0
INIT ?=
LENGTH = $(if $(STEPS),train_cfg.max_iters=$(STEPS) param_scheduler.1.end=$(STEPS)) \
	$(if $(EPOCHS),train_cfg.max_epochs=$(EPOCHS) param_scheduler.1.end=$(EPOCHS))
START = $(if $(INIT),model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint="$(INIT)")
folder = work_dirs/results/$(1)$(addprefix _,$(STEPS)$(EPOCHS))$(if $(INIT),_pretrained)_seed$(SEED)
# $(call result,config,data,metric)
define result
	"$(RUN)" tools/train.py configs/$(1).py --data-root "$(2)" --work-dir $(call folder,$(1)) \
	--cfg-options randomness.seed=$(SEED) $(LENGTH) $(START)
	@grep -h "(val).*$(3)" $(call folder,$(1))/*/*.log | tail -n 1
	@grep "$(1)" docs/results.md
endef
results-bccd: setup
	"$(RUN)" tools/convert_dataset.py "$(BCCD)" work_dirs/bccd_coco
	$(call result,$(or $(CONFIG),atss_maxvit_mini_bccd),work_dirs/bccd_coco,bbox_mAP_50)

results-camvid: setup
	$(call result,$(or $(CONFIG),fpn_maxvit_mini_camvid),$(CAMVID),mIoU)

results-cifar10: setup
	$(call result,$(or $(CONFIG),pretrain_maxvit_mini_cifar10),$(CIFAR10),accuracy/top1)

# Needs nothing of the pinned environment: the build gets an environment of its own, and twine's packages stay out.
.venv-dist/.maxvit_dense: requirements/dist.txt
	$(call venv,.venv-dist)
	@.venv-dist/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

dist: .venv-dist/.maxvit_dense
	rm -rf build dist
	.venv-dist/bin/python -m build
	.venv-dist/bin/python -m twine check --strict dist/*

clean:
	for folder in .venv .venv-*; do test ! -e $$folder/$(MARK) || rm -rf $$folder; done
	rm -rf .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -not -path "./.git/*" -prune -exec rm -rf {} +
