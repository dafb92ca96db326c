"""The benchmarks run; what they print is a matter for their readers."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize("shape", ["demo", "sd15"])
def test_sampling_with_regions_is_measured(shape):
    command = [sys.executable, "-m", "benchmarks.sampling", f"--shape={shape}", "--side=64"]
    flags = ["--steps=2", "--rounds=0", "--only=Local Control, 2 regions"]
    found = subprocess.run([*command, *flags], check=True, capture_output=True, text=True)
    assert json.loads(found.stdout.splitlines()[-1]) > 0.1  # GiB
