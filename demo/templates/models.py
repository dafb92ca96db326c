"""The public files that templates name: where they are, and the folder of models/ they go into."""

_HUB = "https://huggingface.co"
# By name: its folder, and where it is on the hub.
_FILES = {
    "v1-5-pruned-emaonly-fp16.safetensors": (
        "checkpoints",
        "Comfy-Org/stable-diffusion-v1-5-archive/resolve/main",
    ),
    "sd_xl_base_1.0.safetensors": (
        "checkpoints",
        "stabilityai/stable-diffusion-xl-base-1.0/resolve/main",
    ),
    "t2iadapter_canny-fp16.safetensors": (
        "controlnet",
        "webui/ControlNet-modules-safetensors/resolve/main",
    ),
    "t2iadapter_color-fp16.safetensors": (
        "controlnet",
        "webui/ControlNet-modules-safetensors/resolve/main",
    ),
    "t2i-adapter_diffusers_xl_canny.safetensors": (
        "controlnet",
        "lllyasviel/sd_control_collection/resolve/main",
    ),
    "qwen_image_fp8_e4m3fn.safetensors": (
        "diffusion_models",
        "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/diffusion_models",
    ),
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": (
        "text_encoders",
        "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/text_encoders",
    ),
    "qwen_image_vae.safetensors": (
        "vae",
        "Comfy-Org/Qwen-Image_ComfyUI/resolve/main/split_files/vae",
    ),
    "Qwen-Image-InstantX-ControlNet-Union.safetensors": (
        "controlnet",
        "Comfy-Org/Qwen-Image-InstantX-ControlNets/resolve/main/split_files/controlnet",
    ),
    "qwen_image_canny_diffsynth_controlnet.safetensors": (
        "model_patches",
        "Comfy-Org/Qwen-Image-DiffSynth-ControlNets/resolve/main/split_files/model_patches",
    ),
}


def file_of(name: str) -> dict[str, str] | None:
    """Return what ComfyUI's panel of missing models wants to know of a file, or None."""
    if name not in _FILES:
        return None
    directory, place = _FILES[name]
    return {"name": name, "url": f"{_HUB}/{place}/{name}", "directory": directory}
