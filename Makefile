# Kintsugi: one environment in .venv, made from the lock on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' requirements/cpu.lock)

.PHONY: run run-noise run-preferences run-control test test-fast test-all check bench-pipeline bench-sandbox bench-training bench-eval format docs setup browser clean help

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 17

run: $(READY) ## the recovery experiment from end to end, then its result table
	$(BIN)/kintsugi run configs/recovery.yaml

run-noise: $(READY) ## what label noise costs, and how many noisy pairs a clean one is worth
	$(BIN)/kintsugi run configs/noise.yaml

run-preferences: $(READY) ## two collectors of preferences, two rounds each: what each round brought
	$(BIN)/kintsugi run configs/preferences.yaml

run-control: $(READY) ## the study of control tokens: do they steer, and what do they cost
	$(BIN)/kintsugi run configs/control-tokens.yaml

test: test-fast ## all tests but the extensive ones
	$(BIN)/python -m pytest -m "slow and not extensive"

test-fast: $(READY) ## tests that start neither Ray nor DeepSpeed nor vLLM, on all cores
	$(BIN)/python -m pytest -m "not slow and not extensive" -n logical --maxprocesses 4 --dist loadfile

test-all: $(READY) ## every test there is
	$(BIN)/python -m pytest

check: $(READY) ## linter, formatter and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-pipeline: $(READY) ## the corruption pipeline against a plain process pool, to benchmarks/out/pipeline.json
	$(BIN)/python benchmarks/pipeline.py $(BENCH)

bench-sandbox: $(READY) ## short programs a second and core in the sandbox, to benchmarks/out/sandbox.json
	$(BIN)/python -m benchmarks.sandbox $(BENCH)

bench-training: $(READY) ## preference training against plain PyTorch and TRL, to benchmarks/out/training.json
	$(BIN)/python -m benchmarks.training $(BENCH)

bench-eval: $(READY) ## answers and verdicts a second against transformers and the bare engine, to benchmarks/out/eval.json
	$(BIN)/python -m benchmarks.eval $(BENCH)

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## docs/config.md from the types
	$(BIN)/python -m kintsugi.config_docs

setup: $(READY) ## only the environment

browser: ## Debian's Chromium, in which the tests open the report
	@if { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	else echo "There is no Chromium, so the report is not tested in a browser. On Debian: sudo apt-get install chromium"; fi

# PyPI has no CPU build of torch: pip's configured sources come first, then PyTorch's own index, for torch alone.
# As an extra index for everything it would be retried for each package wherever it cannot be reached.
$(READY): requirements/cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "The lock is for Python 3.11, but $(PYTHON) is another version. Use: make PYTHON=python3.11"; exit 3; }
	@echo "Making $(VENV) from requirements/cpu.lock (about 4 GB, a few minutes, once)"
	$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --no-deps "$(TORCH)" 2>/dev/null \
		|| $(PIP) install --no-deps --index-url https://download.pytorch.org/whl/cpu "$(TORCH)"
	$(PIP) install --quiet --no-deps --progress-bar on -r requirements/cpu.lock
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

clean: ## remove the environment and caches; store/ and runs/ stay
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find kintsugi pipeline training eval tests -name __pycache__ -type d -prune -exec rm -rf {} +
