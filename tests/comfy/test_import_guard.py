"""Names and calls of ComfyUI that the pack relies on are there, also those that no test reaches.

The linter resolves names against a git clone, which is made here of the ComfyUI under test.
"""

import shutil
import subprocess

from comfy_import_guard.cli import main

from testbed.comfyui import comfyui_path
from testbed.pack import install_pack

PACKAGES = ("comfy", "comfy_api", "comfy_execution", "comfy_extras", "app", "utils")
AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost")


def test_no_name_or_call_of_comfyui_is_broken(tmp_path):
    clone = tmp_path / "cache" / "ComfyUI"
    for package in PACKAGES:
        shutil.copytree(
            comfyui_path() / package, clone / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for file in comfyui_path().glob("*.py"):
        shutil.copy(file, clone)
    for command in (("init", "-q"), ("add", "-A"), (*AUTHOR, "commit", "-qm", "ComfyUI")):
        subprocess.run(["git", *command], cwd=clone, check=True)
    install_pack(tmp_path / "install" / "custom_nodes")
    where = ("--cache-dir", clone.parent, "--comfy-dir", tmp_path / "install", "--target", "HEAD")
    assert main([*map(str, ("check", "--offline", "--no-update", "--strict", *where))]) == 0
