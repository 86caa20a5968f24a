# Everything here works on a machine with Python (3.10 or newer), git and make; the rest goes into .venv.
#
#   make demo            set up, segment the sample photo (and track in the sample video)
#   make test            set up, run the tests
#   make help            the rest
#
# PYTHON chooses the interpreter, PIP_ARGS adds options for pip (such as an index with the smaller CPU build of torch).

PYTHON ?= python3
PIP_ARGS ?=
WORKERS ?= 2
ARGS ?=
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) -c constraints.txt
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-gpu lint bench check-packages clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## /  make \1|/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## segment the sample photo, track in the sample video
	$(BIN)/samphony demo $(ARGS)

test: $(VENV)/.test ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-gpu: $(VENV)/.test ## run the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu tests/gpu $(ARGS)

test-slow: $(VENV)/.test ## run the tests that take minutes
	$(BIN)/python -m pytest -n $(WORKERS) -m slow $(ARGS)

lint: $(VENV)/.dev ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_import_rules.py

bench: $(VENV)/.run ## compare with the official package, which goes into .venv-official (several GB)
	$(BIN)/python benchmarks/compare.py $(ARGS)

bench-%: $(VENV)/.test ## run benchmarks/NAME.py, as in make bench-image
	$(BIN)/python benchmarks/$*.py $(ARGS)

check-packages: ## run public packages that import sam2 over samphony, in an environment of their own (minutes)
	$(PYTHON) checks/packages.py $(ARGS)

clean: ## remove .venv and what tools left behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist samphony-demo samphony-out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment, three layers. A stamp is older than its inputs when the layer must be installed again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "samphony needs Python 3.10 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "Python's venv module is missing (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.made $(INPUTS)
	@echo "Installing samphony into $(VENV) (torch is large; this happens once) ..."
	$(PIP) -e .
	@touch $@

$(VENV)/.test: $(VENV)/.made $(INPUTS)
	@echo "Installing samphony and the test tools into $(VENV) (torch is large; this happens once) ..."
	$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev: $(VENV)/.test
	$(PIP) -e '.[test,dev]'
	@touch $@
