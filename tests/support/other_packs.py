"""Node packs of other people, whose own code tests run where a variable names their folder."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest


def load_pack(variable, name):
    """The package of a pack, loaded as ComfyUI does it; skips where the variable is not set."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"set {variable} to a folder of {name} to run its own code")
    package = variable.removesuffix("_PATH").lower()
    # Anew, also what it replaces in ComfyUI, which a test may have put back.
    for known in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[known]
    options = {"submodule_search_locations": [path]}
    spec = importlib.util.spec_from_file_location(package, Path(path) / "__init__.py", **options)
    sys.modules[package] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[package])
    return sys.modules[package]


def module_of(pack, name):
    """A module of a pack that is loaded."""
    return sys.modules[f"{pack.__name__}.{name}"]
