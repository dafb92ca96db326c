"""A base that does not fit: the processes of a run share its weights, by torch's FSDP."""

import logging
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

log = logging.getLogger(__name__)

# What is gathered as one: most of a UNet's weights, in parts of which the largest are small.
_PARTS = (BasicTransformerBlock, ResnetBlock2D)


def share_weights(unet: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Leave each process its share of every weight of a frozen UNet, on its device in `dtype`.

    The whole of a part is there only while that is computed, forward or backward, and it is the
    same to the bit; what is in no part stays whole in between. So all processes must use the UNet
    equally often, or they wait for each other.
    """
    whole = _size(unet)
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for part in unet.modules():
        if isinstance(part, _PARTS):
            fully_shard(part.to(device, dtype), mesh=mesh)
    for weight in unet.parameters():
        if not isinstance(weight, DTensor):
            weight.data = weight.data.to(device, dtype)
    fully_shard(unet, mesh=mesh)
    if distributed.get_rank() == 0:
        log.info(
            "processes share the base's UNet: each keeps about %.1f of %.1f MB",
            *(_size(unet) / 1e6, whole / 1e6),
        )


def _size(network: Any) -> int:
    """Bytes of a network's weights in this process."""
    local = (w.to_local() if isinstance(w, DTensor) else w for w in network.parameters())
    return sum(weights.nbytes for weights in local)
