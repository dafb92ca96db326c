"""A ControlNet of SD1.5, SD2, SDXL or a family of their shape, from a file by diffusers' names.

ComfyUI's own loader knows such files by a list of models; by the original names of the tensors it
finds every family that is registered.
"""

from comfy.controlnet import ControlNet, load_controlnet_state_dict
from comfy.model_detection import model_config_from_unet

from ....local_control.controlnet import ControlNetFile
from ....local_control.layout import AdapterFileError, compare_shapes

# Of a loaded control: the metadata of its file.
METADATA = "local_control_metadata"
# What ComfyUI's detection and networks raise for tensors that do not make up a network.
_UNKNOWN = (RuntimeError, LookupError, TypeError, ValueError, AttributeError, AssertionError)


def load_controlnet(file: ControlNetFile, name: str) -> ControlNet:
    """Return ComfyUI's control with the weights of a file; `name`: the file's, for messages.

    Raises:
        AdapterFileError: it is not all of a ControlNet, or of no family that ComfyUI knows.
    """
    tensors = file.original()
    try:
        known = model_config_from_unet(dict(tensors), "") is not None
        control = load_controlnet_state_dict(dict(tensors)) if known else None
    except _UNKNOWN:
        control = None
    if control is None:
        raise AdapterFileError(
            f"{name} is a ControlNet of no family that this ComfyUI knows, or not all of one; load "
            f"one of SD1.5, SD2 or SDXL, or download it again."
        )
    expected = {key: tuple(v.shape) for key, v in control.control_model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    compare_shapes(found, expected, name, f"a ControlNet for {file.family}")
    setattr(control, METADATA, file.metadata)
    return control
