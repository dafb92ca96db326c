# `make demo` and `make test` set up all they need, in .venv and build/, from package registries.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Two torch processes on one machine must not spin while they wait for each other.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: test lint types unit clean

test: lint types unit

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install ".[dev]"
	touch $@

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/ready
	$(VENV)/bin/pyright

unit: $(VENV)/ready
	$(PY) -m pytest tests/unit

clean:
	rm -rf $(VENV) build
