"""The example workflows on the demo model, and the pictures that they start from.

The pictures show two held-out objects each, and have a mask of one of them in their alpha channel:
transparent = white in the mask, as ComfyUI's mask editor saves it.
"""

from pathlib import Path

_DEMO = Path(__file__).parent
# The pack is shipped without the demo model, and so without these.
DEMO_EXAMPLES = _DEMO / "example_workflows"
ONE_REGION = DEMO_EXAMPLES / "one_region_demo.json"
SEVERAL_REGIONS = DEMO_EXAMPLES / "several_regions_demo.json"

EDGES_PICTURE = _DEMO / "pictures" / "local_control_demo.png"
COLOURS_PICTURE = _DEMO / "pictures" / "local_control_demo_colours.png"
