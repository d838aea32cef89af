# make venv | demo | test | docs | fuzz.  PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: venv demo test docs fuzz lint lock clean

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

# The site, in build/site: built without a network, then every link and every public name is looked for. Its tools have an
# environment and a lock of their own.
DOCS_VENV ?= .venv-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed
docs: $(DOCS_INSTALLED)
	$(DOCS_VENV)/bin/python -m tools.site --out build/site

$(DOCS_INSTALLED): docs/requirements.lock pyproject.toml
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes -r docs/requirements.lock
	$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(DOCS_INSTALLED)

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
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --no-header
lock:
	$(COMPILE) $(foreach extra,cpu demo huggingface inspect tensorboard test,--extra $(extra)) --output-file requirements.lock
	$(COMPILE) $(foreach extra,cpu docs huggingface inspect tensorboard,--extra $(extra)) --output-file docs/requirements.lock

clean:
	rm -rf $(VENV) $(DOCS_VENV) build demo .pytest_cache .ruff_cache
