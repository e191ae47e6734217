# The way in: `make scan` on a clean machine, `make test` before a commit. `make help` lists the rest.
# Only make and some Python are assumed. PYTHON=/path/to/python3.11 chooses the interpreter of .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help scan serve setup setup-all preflight test lint types imports unit bench engines test-gpu doctor \
	generate constraints clean

BIN := .venv/bin
BOOT := $(firstword $(foreach name,$(PYTHON) python3 python3.11 python3.12 python,$(shell command -v $(name) 2>/dev/null)))
FILES ?= $(wildcard samples/*.jpg samples/*.png samples/*.webp samples/audio/*.wav samples/audio/*.mp3 samples/audio/*.ogg)
export PYTHON

define need_python
	@test -n "$(BOOT)" || { echo "missing: Python 3.11 or 3.12"; \
	echo "mend it: apt-get update && apt-get install -y python3 python3-venv python3-dev gcc libb64-0d"; exit 1; }
endef

help: ## this list
	@echo "make scan                  scan the samples (sets everything up first)"
	@echo "make scan FILES=\"a b\"      scan your photos, recordings and videos"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / && $$1 != "scan" { printf "make %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

scan: setup ## set up, start Triton, scan FILES or the samples, stop
	@$(BIN)/deepscan scan $(FILES)

serve: setup ## Triton on 8000 to 8002 and the gateway on 5000, until Ctrl-C
	@exec $(BIN)/deepscan serve $(SERVE)

preflight: ## name what this system lacks, and the one apt line that mends it
	$(need_python)
	@$(BOOT) tools/preflight.py --bench

setup: ## .venv with what scanning and serving need; nothing to do the second time
	$(need_python)
	@$(BOOT) tools/setup.py

setup-all: ## .venv with training and test tools as well
	$(need_python)
	@$(BOOT) tools/setup.py train dev

test: setup-all lint types imports unit ## what CI runs: lint, types, import order, tests

lint: ## ruff, rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: ## mypy, strict
	$(BIN)/mypy

imports: ## no room imports a room below its own line
	$(BIN)/lint-imports

unit: ## the tests; PYTEST="-k name" chooses
	$(BIN)/python -m pytest $(PYTEST)

doctor: setup ## check the installation and print the fix for what is wrong
	@$(BIN)/deepscan doctor

bench: setup-all ## perf_analyzer against benchmarks/targets.yaml
	@$(BOOT) tools/preflight.py --bench
	$(BIN)/deepscan bench $(BENCH)

engines: setup-all ## FP16 and INT8 engines: TensorRT where it is installed, else TensorRT-RTX
	$(BIN)/python -m export.engines $(ENGINES)

test-gpu: setup-all ## what only a GPU host can
	$(BIN)/python -m pytest -m gpu -rs

generate: setup-all ## write again what is derived from the cards
	$(BIN)/python -m export.generate

constraints: setup-all ## pin what .venv holds; FREEZE="other.txt" adds another interpreter's `pip freeze`
	$(BIN)/python tools/constraints.py $(FREEZE)

clean: ## remove everything that make made
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist \
		engines heatmaps pictures *.egg-info client/src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
