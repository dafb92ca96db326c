"""Loading adapters."""

from pathlib import Path

import folder_paths
from comfy_api.v0_0_2 import io

from ..local_control.checkpoint import METADATA_PREFIX, AdapterFile, read_adapter
from .adapter_files import FOLDER, adapter_names
from .comfy_types import CATEGORY, make_schema
from .inputs import checked
from .sampler.control.adapter import AdapterControl
from .sampler.control.loaded import LoadedAdapter


class LoadAdapter(io.ComfyNode):
    """File -> CONTROL_NET and what the file says of itself."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """One combo of the files in models/controlnet and models/t2i_adapter."""
        return make_schema(
            ["t2i adapter", "t2iadapter", "load controlnet", "adapter loader"],
            node_id="LocalControl_LoadAdapter",
            display_name="Load Local Adapter",
            category=f"{CATEGORY}/regions",
            description="Loads a T2I-Adapter of any layout: full, light or XL.",
            inputs=[
                io.Combo.Input(
                    "adapter_name",
                    options=adapter_names(),
                    tooltip="A .safetensors file in models/controlnet or models/t2i_adapter.",
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
    def fingerprint_inputs(cls, adapter_name: str) -> tuple[int, int]:
        """Load again when the file has changed."""
        stat = Path(folder_paths.get_full_path_or_raise(FOLDER, adapter_name)).stat()
        return stat.st_mtime_ns, stat.st_size

    @classmethod
    @checked
    def execute(cls, adapter_name: str) -> io.NodeOutput:
        """Read, check and hand to ComfyUI's memory manager."""
        path = Path(folder_paths.get_full_path_or_raise(FOLDER, adapter_name))
        file = read_adapter(path)
        control = AdapterControl(LoadedAdapter.from_file(file, path.name))
        return io.NodeOutput(control, describe(file))


def describe(file: AdapterFile) -> str:
    """What an adapter is, for a person: its shape, then what its metadata says of its training."""
    config = file.config
    lines = [
        f"{config.kind} T2I-Adapter for {file.family}, "
        f"channels {', '.join(map(str, config.channels))}, "
        f"{'gray' if config.in_channels == 1 else 'RGB'} condition"
    ]
    known = {
        key.removeprefix(METADATA_PREFIX): value
        for key, value in sorted(file.metadata.items())
        if key.startswith((METADATA_PREFIX, "modelspec.title", "modelspec.description"))
    }
    lines += [f"{key}: {value}" for key, value in known.items()]
    if not known:
        lines.append("The file says nothing of its condition or training.")
    return "\n".join(lines)
