# make venv | demo | test | fuzz.  PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: venv demo test fuzz lint lock clean

venv: $(INSTALLED)

# The lock holds every version and hash; the build backend comes from it too, so nothing floats.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(INSTALLED)

# Loads the published digits network, evaluates, fine-tunes and predicts with it; writes demo/report.html.
demo: venv
	$(BIN)/zoo demo --out demo

# The second run repeats what touches modules in NNX's tree mode, which flax will make its default.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile
	NNX_GRAPH_MODE=false NNX_GRAPH_UPDATES=false $(BIN)/python -m pytest -n 2 --dist loadfile \
	  tests/models/test_resnet.py tests/shaping/test_trace.py tests/training/test_step.py tests/test_pretrained.py

# Every reader of files, names and answers on made-up content, and histories of a run directory, for an hour: readers guided
# by coverage where atheris is installed (pip install 'atheris>=3', Linux), else by Hypothesis alone.
MINUTES ?= 60
fuzz: venv
	$(BIN)/python -m tests.fuzzing --minutes $(MINUTES)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

# Resolves pyproject.toml anew for every supported Python; the lock names no index. The extra `tpu` is left out: its compiler
# weighs 200 MB and only `zoo plan` for TPUs and TPUs themselves want it.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes $(foreach extra,cpu demo huggingface inspect tensorboard test,--extra $(extra)) \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --output-file requirements.lock

clean:
	rm -rf $(VENV) demo .pytest_cache .ruff_cache
