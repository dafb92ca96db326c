"""Servers of the demo family: one with random weights, and what any of them samples."""

import io

import torch
from PIL import Image
from safetensors.torch import save_file

from demo.base import CHANNELS, Base, new_autoencoder, new_text_model, new_unet, save_checkpoint
from demo.example_files import PICTURES, mask_of
from demo.sheet import to_tensor
from demo.workspace import prepare_demo_workspace
from local_control.adapter import Adapter, AdapterConfig
from local_control.checkpoint import AdapterFile, write_adapter
from testbed.workflow import find


def random_base(path):
    """A checkpoint of the demo family."""
    torch.manual_seed(0)
    token_ids = torch.tensor([320, 2368, 49406, 49407])  # a, cat, start, end
    base = Base(new_unet(), new_text_model(len(token_ids) + 1), new_autoencoder(), token_ids, 0.7)
    save_checkpoint(base, path, {})
    return path


def random_adapter(path, condition="canny 100 200", **kwargs):
    """An adapter file of the demo family, or of the shape that `kwargs` name."""
    torch.manual_seed(1)
    config = AdapterConfig(**{"channels": CHANNELS, "in_channels": 1} | kwargs)
    metadata = {"local_control.condition": condition}
    write_adapter(AdapterFile(config, Adapter(config).state_dict(), metadata), path)
    return path


def bad_adapters(folder, good):
    """A text file, a truncated one, one with a missing tensor, one of another family."""
    content = good.read_bytes()
    (folder / "text.safetensors").write_text("this is no model")
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    tensors = Adapter(AdapterConfig(channels=CHANNELS)).state_dict()
    tensors.pop("body.3.block1.weight")
    save_file(tensors, folder / "incomplete.safetensors")
    random_adapter(folder / "sdxl.safetensors", kind="xl")
    return [folder / f"{name}.safetensors" for name in ("text", "cut", "incomplete", "sdxl")]


def make_workspace(folder):
    """A ComfyUI base directory in which the demo's example workflow runs."""
    good = random_adapter(folder / "local_canny_demo.safetensors")
    colour = random_adapter(folder / "local_colour_demo.safetensors", "colour 8", in_channels=3)
    plain = random_adapter(folder / "plain_canny_demo.safetensors")
    adapters = [good, plain, colour, *bad_adapters(folder, good)]
    checkpoint = random_base(folder / "local_control_demo.safetensors")
    workspace = prepare_demo_workspace(
        folder / "workspace", {"checkpoints": [checkpoint], "controlnet": adapters}
    )
    box = (64, 20, 120, 100)
    picture, mask = Image.new("RGB", (128, 128)), Image.new("L", (128, 128))
    picture.paste((250, 240, 20), box)
    mask.paste(255, box)
    for path in PICTURES:
        picture.save(workspace / "input" / path.name)
        mask.save(workspace / "input" / mask_of(path).name)
    return workspace


def sample_on(server, prompt):
    """Run a prompt -> the only picture that it saves [1,3,H,W] in 0..1."""
    (entry,) = server.run(prompt)[find(prompt, "SaveImage")]["images"]
    return to_tensor(Image.open(io.BytesIO(server.image(entry))).convert("RGB"))
