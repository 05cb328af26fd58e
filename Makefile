# Two commands for everybody: `make demo` and `make test`. Each sets up all it needs in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MODEL ?=
INSTALL ?=
SECONDS ?= 60

.PHONY: demo demo-page demo-weights test quick lint format bench fuzz interop clean

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

# The page of a gallery of drawn people, in your browser; PORT=0 takes a free port.
PORT ?= 8765
demo-page: $(VENV)/.base
	$(BIN)/pip install --quiet -e '.[serve]'
	$(BIN)/osnet serve --demo --port $(PORT)

# The built-in checkpoint osnet_x0_25_drawn, from scratch, in three sizes; goes on wherever it was stopped.
DRAWN = build/drawn
demo-weights: $(DRAWN)/3/curves.png
	$(BIN)/osnet publish $(DRAWN)/3 --out osnet/hub/cards/osnet/2.8 --name osnet_x0_25_drawn --user-id osnet \
		--dataset "drawn people" --author "the osnet package" --overwrite
	$(BIN)/python -m benchmarks.drawn

$(DRAWN)/data/drawn.json: | $(VENV)/.dev
	$(BIN)/osnet synth $(@D) --identities 2400 --cameras 400 --cameras-per-identity 6 --images-per-camera 3 --train-fraction 0.95 --seed 0

$(DRAWN)/1/curves.png: BASE =
$(DRAWN)/2/curves.png: BASE = --model $(DRAWN)/1/best.ckpt
$(DRAWN)/3/curves.png: BASE = --model $(DRAWN)/2/best.ckpt
$(DRAWN)/2/curves.png: $(DRAWN)/1/curves.png
$(DRAWN)/3/curves.png: $(DRAWN)/2/curves.png
$(DRAWN)/%/curves.png: $(DRAWN)/data/drawn.json
	if [ -f $(@D)/config.yaml ]; then $(BIN)/osnet train --resume $(@D); else \
		$(BIN)/osnet train $(DRAWN)/data --config osnet/training/recipes/drawn-$*.yaml $(BASE) --out $(@D); fi

# One process for each core.
PYTEST = $(BIN)/python -m pytest -n auto --dist worksteal

test: $(VENV)/.dev
	$(PYTEST)

# What takes a second or less, for while you work.
quick: $(VENV)/.dev
	$(PYTEST) -m 'not slow'

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

# Damaged checkpoints, cards, feature files and images of all their formats against their readers, for SECONDS each.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.checkpoint.fuzz --seconds $(SECONDS)
	$(BIN)/python -m tests.hub.fuzz_cards --seconds $(SECONDS)
	$(BIN)/python -m tests.inference.fuzz_features --seconds $(SECONDS)
	$(BIN)/python -m tests.fuzz_image_files --seconds $(SECONDS)

# The real BoxMOT and Ultralytics run exported files; with HUB=a checkout, the real mindspore_hub loads every card too.
# On Linux pip takes the torch that needs CUDA: INSTALL="torch==...+cpu torchvision" is installed first.
interop: $(VENV)/.dev
	$(BIN)/python -m tests.exporting.interop --install "$(INSTALL)"
	$(if $(HUB),$(BIN)/python -m tests.mshub.mindspore_hub_real $(HUB),@echo "mindspore_hub was left out: name a checkout with HUB=...")

clean:
	rm -rf $(VENV) build dist *.egg-info
