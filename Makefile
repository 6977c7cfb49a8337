# Everything a contributor runs. It needs make, bash, Python 3.11+ and pip; nothing else.

SHELL := bash
PYTHON ?= python3
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# More arguments for the tools: make demo DEMO_ARGS=--json, make bench BENCH_ARGS=--quick
DEMO_ARGS ?=
TEST_ARGS ?=
TEST_WORKERS ?= 2
BENCH_ARGS ?=
LOCK_ARGS ?=

# Open Bandit Pipeline, a peer of one benchmark, lives in the past; d3rlpy, of another, shares its environment, for
# both want PyTorch. Where pip does not know PyTorch's CPU builds:
# OBP_PIP_ARGS="--find-links PLACE".
OBP_PYTHON ?= python3.11
OBP_VENV := .venv-obp
OBP_PIP_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

# An environment knows its own absolute path, so a moved checkout builds a new one.
ifneq ($(shell cat "$(STAMP)" 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format bench bench-peers lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Create .venv with locked packages (nothing to do when it is current)

$(STAMP): pyproject.toml requirements/dev.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "error: no '$(PYTHON)' found. Install Python 3.11 or newer, or name it: make PYTHON=python3.12 install" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or newer is needed and '$(PYTHON)' is older. Name another: make PYTHON=python3.12 install" >&2; exit 1; }
	@echo "Installing locked packages into $(VENV) (a first time downloads about 300 MB and takes some minutes)"
	@[ "$$(cat "$@" 2>/dev/null)" = "$(CURDIR)" ] || "$(PYTHON)" -m venv --clear $(VENV)
	@# The lock is complete, so pip need not resolve. Byte code is compiled afterwards on all cores: without it
	@# a first start of Ray can miss the 30 seconds that Ray grants itself.
	@set -o pipefail; $(BIN)/python -m pip install --require-hashes --no-deps --no-compile --progress-bar off \
	  -r requirements/dev.txt \
	  | awk '/ MB\)$$/ { sub(/^ +/, ""); print "  " $$1 " " $$2 " " $$3 " " $$4; fflush() } \
	         /^Installing/ { print "  unpacking " NF - 3 " packages"; fflush() }'
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@echo "  compiling"
	@$(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing)/' $(VENV)/lib/python*/site-packages || true
	@echo "$(CURDIR)" > $@
	@echo "Ready: $(BIN)/nba --help"

demo: install ## Simulate, train on Ray, log to MLflow, serve a decision and learn from it
	@$(BIN)/nba demo $(DEMO_ARGS)

test: install ## Run the tests, without the slow ones
	$(BIN)/pytest -m "not slow" -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder $(TEST_ARGS)

test-slow: install ## Run only the slow tests
	$(BIN)/pytest -m slow $(TEST_ARGS) || [ $$? -eq 5 ] # 5: no slow test exists

check: install ## Lint, format, types and architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py

format: install ## Repair what ruff can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Run every benchmark; BENCH_ARGS=--quick for a short look
	@set -e; for path in experiments/benchmarks/*.py; do \
	  name=$$(basename "$$path" .py); \
	  case "$$name" in _*) continue ;; esac; \
	  echo "== $$name" >&2; \
	  $(BIN)/python -m "experiments.benchmarks.$$name" --json $(BENCH_ARGS); \
	done

bench-peers: install ## Add the peers that benchmarks compare with (1.4 GB, nearly all PyTorch, in .venv-obp)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r requirements/bench-peers.txt
	"$(OBP_PYTHON)" -m venv --clear $(OBP_VENV)
	$(OBP_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r requirements/bench-obp.txt
	$(OBP_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps --ignore-requires-python \
	  --no-build-isolation $(OBP_PIP_ARGS) -r requirements/bench-obp-itself.txt
	$(OBP_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r requirements/bench-d3rlpy.txt
	$(OBP_VENV)/bin/python -m pip install --quiet --require-hashes --no-deps --no-build-isolation \
	  -r requirements/bench-d3rlpy-itself.txt
	$(OBP_VENV)/bin/python -W ignore -c 'import obp; print("Open Bandit Pipeline", obp.__version__)'
	$(OBP_VENV)/bin/python -W ignore -c 'import d3rlpy; print("d3rlpy", d3rlpy.__version__)' 2>/dev/null

# Maintainers only, and the one target that needs uv. The other three locks of the project follow dev.txt.
LOCK = $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
  --no-annotate --python-version 3.11 $(LOCK_ARGS) pyproject.toml

lock: ## Lock the requirements again (needs uv; LOCK_ARGS=--upgrade for newer versions)
	$(LOCK) --extra serve --extra train --extra postgres --extra ray-serve --group dev --output-file requirements/dev.txt
	$(LOCK) --extra serve --constraint requirements/dev.txt --output-file requirements/serve.txt
	$(LOCK) --extra serve --extra postgres --constraint requirements/dev.txt --output-file requirements/postgres.txt
	$(LOCK) --extra train --constraint requirements/dev.txt --output-file requirements/train.txt
	$(LOCK:pyproject.toml=requirements/bench-peers.in) --no-deps --output-file requirements/bench-peers.txt
	$(LOCK:pyproject.toml=requirements/bench-obp.in) --output-file requirements/bench-obp.txt
	$(LOCK:pyproject.toml=requirements/bench-d3rlpy.in) --constraint requirements/bench-obp.txt \
	  --output-file requirements/bench-d3rlpy.txt
	@! grep -nE '://|index-url|find-links|==[^ ]*\+' requirements/*.txt || { \
	  echo "error: a lock names a host or a local version; look at uv's configuration" >&2; exit 1; }

clean: ## Remove the environment, caches and everything generated
	rm -rf $(VENV) $(OBP_VENV) build dist mlruns .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
