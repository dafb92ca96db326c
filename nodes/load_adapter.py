"""Loading adapters, and ControlNets that were trained as they are."""

from pathlib import Path

import folder_paths
from comfy_api.v0_0_2 import io

from ..local_control.checkpoint import AdapterFile
from ..local_control.control_file import read_control
from .adapter_files import FOLDER, adapter_infos, adapter_names, describe, file_version
from .comfy_types import CATEGORY, make_schema, telling
from .inputs import checked
from .sampler.control.adapter import AdapterControl
from .sampler.control.controlnet import load_controlnet
from .sampler.control.loaded import LoadedAdapter


class LoadAdapter(io.ComfyNode):
    """File -> CONTROL_NET and what the file says of itself."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the schema: a combo of the files in models/controlnet and t2i_adapter."""
        return make_schema(
            ["t2i adapter", "t2iadapter", "load controlnet", "adapter loader"],
            node_id="LocalControl_LoadAdapter",
            display_name="Load Local Adapter",
            category=f"{CATEGORY}/regions",
            description="Loads a T2I-Adapter of any layout, full, light or XL, or a ControlNet in "
            "diffusers' layout.",
            inputs=[
                telling(
                    io.Combo.Input(
                        "adapter_name",
                        options=adapter_names(),
                        tooltip="A .safetensors file in models/controlnet or models/t2i_adapter; "
                        "those that tell of their training come first.",
                    ),
                    local_control=adapter_infos(),  # shown on the node
                )
            ],
            outputs=[
                io.ControlNet.Output(
                    display_name="control_net",
                    tooltip="For Local Control Region, or stock Apply ControlNet.",
                ),
                io.String.Output(
                    display_name="info", tooltip="Family, condition and training of the adapter."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str | None) -> tuple[int, int]:
        """Return what changes with the file, so that a new one is loaded."""
        return file_version(adapter_name)

    @classmethod
    @checked
    def execute(cls, adapter_name: str) -> io.NodeOutput:
        """Return the control of a file, and what the file says of itself."""
        path = Path(folder_paths.get_full_path_or_raise(FOLDER, adapter_name))
        file = read_control(path)
        if isinstance(file, AdapterFile):
            control = AdapterControl(LoadedAdapter.from_file(file, path.name))
        else:
            control = load_controlnet(file, path.name)
        return io.NodeOutput(control, describe(file))
