# `make app` starts the page, `make check` is the quick check before a commit, `make test` runs everything.
# Each builds the virtual environment first, from the hashes in requirements.lock or requirements-dev.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Hashed, and complete without its dependencies' dependencies: nothing outside the lock is installed.
INSTALL := $(BIN)/python -m pip install -q --no-deps --require-hashes -r
# torch's build differs by computer (CPU, CUDA, ROCm): its version is pinned, its files are the ones of your package index.
TORCH = $(BIN)/python -m pip install -q "$$(grep -o '^torch==[^ ]*' requirements.txt)"

.PHONY: app check test lint types wheel lock bump licences sbom clean

app: $(VENV)/.installed
	$(BIN)/python app.py $(ARGS)

check: lint types
	$(PYTEST) -m "not slow and not browser and not gpu and not network"

test: lint types
	$(PYTEST)

# One thread a worker: two workers that each start two threads stand in each other's way.
PYTEST = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q -n 2 --dist loadgroup --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	find infant_fer -name '*.pyi' -delete # Gradio writes them beside its components; mypy would read them in place of the code
	$(BIN)/mypy

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .

# Derive all requirements files from pyproject.toml: `lock` keeps what is pinned, `bump` takes the newest that fit.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --no-annotate 
PAGE := --extra video
DEV := --all-extras --group dev
HASHED := --generate-hashes --no-emit-package torch
lock bump: $(VENV)/.installed-dev
	$(COMPILE) $(UPGRADE) $(PAGE) -o requirements.txt
	$(COMPILE) $(UPGRADE) $(PAGE) --extra train -c requirements.txt -o requirements-train.txt
	$(COMPILE) $(UPGRADE) $(PAGE) --extra cluster -c requirements-train.txt -o requirements-cluster.txt
	$(COMPILE) $(UPGRADE) $(DEV) -c requirements-train.txt -c requirements-cluster.txt $(HASHED) -o requirements-dev.lock
	$(COMPILE) $(PAGE) -c requirements.txt $(HASHED) -o requirements.lock
bump: UPGRADE := --upgrade

licences: $(VENV)/.installed-dev
	$(BIN)/pip-licenses --order=license --format=markdown

sbom: $(VENV)/.installed-dev
	$(BIN)/cyclonedx-py requirements requirements.lock -o sbom.json

$(VENV)/.installed: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) requirements.lock
	$(TORCH)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(INSTALL) requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV) runs dist
