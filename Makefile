# `make app` starts the page, `make test` runs every check; both build the virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: app test lint clean

app: $(VENV)/.installed
	$(BIN)/python app.py $(ARGS)

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -q

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-train.txt requirements-dev.txt requirements-synthetic.txt
	$(BIN)/python -m pip install -q -r requirements-train.txt -r requirements-dev.txt
	$(BIN)/python -m pip install -q --no-deps -r requirements-synthetic.txt
	touch $@

clean:
	rm -rf $(VENV) runs
