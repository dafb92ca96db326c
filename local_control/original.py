"""The names that a UNet's and a ControlNet's tensors have in Stable Diffusion checkpoints."""

import re

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_STEM = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_cond_embedding.conv_out": "input_hint_block.14",
}


def original_name(key: str) -> str:
    """Return the original name, without a prefix, of a tensor of diffusers' UNet or ControlNet.

    The network has two residual blocks a level, as those of SD1.5, SD2 and SDXL have.

    Raises:
        KeyError: such a network has no tensor of this name.
    """
    stem, _, kind = key.rpartition(".")
    if stem in _STEM:
        return f"{_STEM[stem]}.{kind}"
    if match := re.fullmatch(r"controlnet_down_blocks\.([0-9]+)", stem):
        return f"zero_convs.{match[1]}.0.{kind}"
    if match := re.fullmatch(r"controlnet_cond_embedding\.blocks\.([0-9])", stem):
        return f"input_hint_block.{2 * int(match[1]) + 2}.{kind}"
    match = re.fullmatch(r"(?:(down|up)_blocks\.([0-9])|mid_block)\.(\w+)\.([0-9])\.(.+)", key)
    if match is None:
        raise KeyError(key)
    side, level, part, index, rest = match.groups()
    if part == "resnets":
        name, _, kind = rest.partition(".")
        rest = f"{_RESNET[name]}.{kind}"
    if side is None:
        return f"middle_block.{1 if part == 'attentions' else 2 * int(index)}.{rest}"
    i, j = int(level), int(index)
    slot = 1 if part == "attentions" else 0
    if side == "down":
        if part == "downsamplers":
            return f"input_blocks.{3 * i + 3}.0.{rest.replace('conv', 'op')}"
        return f"input_blocks.{3 * i + j + 1}.{slot}.{rest}"
    if part == "upsamplers":
        return f"output_blocks.{3 * i + 2}.{1 if i == 0 else 2}.{rest}"
    return f"output_blocks.{3 * i + j}.{slot}.{rest}"
