"""The example workflows on the demo model, and the pictures that they start from.

The pictures show two held-out objects each; NAME_mask.png is the mask of one of them.
"""

import shutil
from pathlib import Path

_DEMO = Path(__file__).parent
# The pack is shipped without the demo model, and so without these.
DEMO_EXAMPLES = _DEMO / "example_workflows"
SEVERAL_REGIONS = DEMO_EXAMPLES / "03_several_regions_demo.json"
WATCH = DEMO_EXAMPLES / "04_watch_and_time_demo.json"

_PICTURES = _DEMO / "pictures"
EDGES_PICTURE = _PICTURES / "local_control_demo.png"
COLOURS_PICTURE = _PICTURES / "local_control_demo_colours.png"
PICTURES = (EDGES_PICTURE, COLOURS_PICTURE)


def mask_of(picture: Path) -> Path:
    """Return the file of a picture's mask, white = controlled."""
    return picture.with_name(f"{picture.stem}_mask.png")


def copy_pictures(folder: Path) -> None:
    """Copy all pictures and masks into a folder."""
    for picture in PICTURES:
        for path in (picture, mask_of(picture)):
            shutil.copy(path, folder)
