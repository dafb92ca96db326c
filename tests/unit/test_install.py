"""What installing the pack does to an environment: it adds what is missing and replaces nothing."""

import asyncio
import importlib.util
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Environment:
    """A Python of its own, perhaps with the packages of this one as well (as of a ComfyUI)."""

    def __init__(self, folder, with_ours, *packages):
        venv.create(folder, with_pip=True)
        bin_folder, name = (
            ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
        )
        self._python = folder / bin_folder / name
        self.run("-m", "pip", "install", "--quiet", *packages)
        if with_ours:  # behind its own, which are found first
            (site,) = {Path(self.say("import sysconfig; print(sysconfig.get_path('purelib'))"))}
            (site / "ours.pth").write_text(sysconfig.get_path("purelib"))

    def run(self, *arguments):
        command = [str(self._python), *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def say(self, code):
        return self.run("-c", code)

    def versions(self):
        return self.say(
            "import cv2, numpy; print(numpy.__version__, cv2.__version__, cv2.__file__)"
        )

    def install_pack(self):
        self.run("-m", "pip", "install", "-r", ROOT / "requirements.txt")
        self.run(ROOT / "install.py")


def test_numpy_1_and_the_opencv_of_another_pack_stay_as_they_were(tmp_path):
    packages = ("numpy==1.26.4", "opencv-python==4.10.0.84")
    environment = Environment(tmp_path / "env", True, *packages)
    before = environment.versions()
    assert before.startswith("1.26.4 4.10.0")
    files = sorted((tmp_path / "env").rglob("cv2/*"))
    environment.install_pack()
    assert environment.versions() == before
    assert sorted((tmp_path / "env").rglob("cv2/*")) == files
    assert "Canny" in environment.say("import cv2; print(dir(cv2))")


@pytest.mark.parametrize(("numpy", "opencv"), [("1.26.4", "4.11"), ("2.2.6", "")])
def test_where_there_is_no_opencv_one_comes_that_fits_numpy(tmp_path, numpy, opencv):
    environment = Environment(tmp_path / "env", False, f"numpy=={numpy}")
    environment.run(ROOT / "install.py")
    assert environment.versions().startswith(f"{numpy} {opencv}")
    code = "import cv2, numpy; print(cv2.Canny(numpy.zeros((9, 9), numpy.uint8), 1, 2).sum())"
    assert environment.say(code) == "0"


def test_where_opencv_cannot_be_installed_the_pack_says_what_to_do(monkeypatch):
    calls = []
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py")
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(pack.subprocess, "run", lambda command, check: calls.append(command))
    with pytest.raises(ImportError, match=r"needs OpenCV, and its install\.py could not"):
        asyncio.run(pack.comfy_entrypoint())
    assert calls == [[sys.executable, ROOT / "install.py"]]
