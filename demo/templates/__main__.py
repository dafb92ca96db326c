"""Write the example workflows and the blueprint anew, from the nodes of a real ComfyUI.

python -m demo.templates
"""

import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from testbed.pack import ROOT
from testbed.server import ComfyServer
from testbed.workflow import EXAMPLES

from ..example_files import DEMO_EXAMPLES
from ..workspace import prepare_demo_workspace
from .blueprints import BLUEPRINTS, CONTROL_A_REGION, control_a_region
from .canvas import Canvas, Infos
from .listing import TEMPLATES


def write_all(infos: Infos) -> None:
    """Write every template of the catalogue into the folder of its kit, and the blueprint."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for template in TEMPLATES:
        canvas = Canvas(template.name, infos, version)
        template.draw(canvas, template.kit)
        folder = DEMO_EXAMPLES if template.kit.suffix == "demo" else EXAMPLES
        _write(canvas.to_json(), folder / f"{template.name}.json")
    _write(control_a_region(infos, version), BLUEPRINTS / f"{CONTROL_A_REGION}.json")


def _write(graph: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(graph, indent=1, ensure_ascii=True) + "\n")


def main() -> None:
    """Ask a server for its nodes, and write."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = prepare_demo_workspace(Path(folder), {})
        with ComfyServer(workspace) as server:
            infos = server.object_info()
    write_all(infos)


if __name__ == "__main__":
    main()
