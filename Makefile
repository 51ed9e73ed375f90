# The two commands: `make demo` and `make test`. Both set everything up first, in .venv.
# `make docs` writes the documentation as a site: open site/index.html.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRA := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
DEMO := omniglot_mini_retrieval digits_classification

# What Python compiles is kept, whatever the environment says: else each process that a test starts
# compiles PyTorch anew, which takes three times as long as to load it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test docs lint setup clean

demo: $(VENV)/installed
	$(BIN)/stt-bench run $(DEMO) --runs demo/runs --results demo/results

test: $(VENV)/installed lint
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

setup: $(VENV)/installed

# --no-compile: most of what is installed is never imported; what is, Python compiles then.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("stt-bench needs Python 3.11.4 or newer; try: make PYTHON=python3.12" if sys.version_info < (3, 11, 4) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[$(EXTRA),dev]'
	touch $@

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRA),docs]'
	touch $@

clean:
	rm -rf $(VENV) demo site
