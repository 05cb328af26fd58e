# Two commands for everybody: `make demo` and `make test`. Each sets up all it needs in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MODEL ?=
SECONDS ?= 60

.PHONY: demo test quick lint format bench fuzz clean

$(VENV)/.base: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[eval]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[dev,mindspore]'
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install --quiet -e '.[bench]'
	touch $@

# make demo MODEL=my.ckpt, or OSNET_MIRROR=https://... make demo
demo: $(VENV)/.base
	$(BIN)/osnet demo $(if $(MODEL),--model $(MODEL))

test: $(VENV)/.dev
	$(BIN)/python -m pytest

# What takes a second or less, for while you work.
quick: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not slow'

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every figure in the documentation, with the peers beside it in the same run.
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

# Mutated checkpoints against the reader, for SECONDS.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.checkpoint.fuzz_ckpt --seconds $(SECONDS)

clean:
	rm -rf $(VENV) build dist *.egg-info
