"""Put OpenCV in place where there is none; ComfyUI's Manager runs this after requirements.txt.

python install.py    # with the Python that runs ComfyUI

A requirement in a file would do harm: several packages bring the same module `cv2`, each of them
overwrites the others' files, and newer ones replace NumPy 1 by NumPy 2.
"""

import importlib.util
import runpy
import sys
from importlib.metadata import version

# The last of OpenCV's packages that run with NumPy 1 are those before 4.12.
_FOR_NUMPY_1 = "opencv-python-headless>=4.10,<4.12"
_FOR_NUMPY_2 = "opencv-python-headless>=4.10"


def wanted_requirement() -> str | None:
    """Return the OpenCV that fits the NumPy that is here, or None if there is an OpenCV."""
    if importlib.util.find_spec("cv2") is not None:
        return None
    return _FOR_NUMPY_1 if version("numpy").startswith("1.") else _FOR_NUMPY_2


def main() -> None:
    """Install what is missing, and nothing else: NumPy stays as it is."""
    requirement = wanted_requirement()
    if requirement is not None:
        sys.argv = ["pip", "install", "--no-deps", requirement]
        runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
