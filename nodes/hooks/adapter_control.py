"""T2I-Adapters as a ComfyUI control: features are computed, gated and summed once per sampling.

A step then costs one addition a level, however many regions there are. Stock ControlNetApply nodes
take the object as they take ComfyUI's own; `with_regions` is what LocalControl_Apply calls.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import comfy.model_management
import comfy.utils
import torch
from comfy.controlnet import ControlBase, T2IAdapter
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...local_control.adapter import AdapterConfig
from ...local_control.checkpoint import AdapterFile, family_name, parse_adapter
from ...local_control.gating import gate_features
from ...local_control.masks import MaskResize, match_batch

LATENT_FACTOR = 8

# Where the features of the four levels enter ComfyUI's UNet: input blocks counted from the first,
# and the middle block.
_INPUT_BLOCKS = {"full": (2, 5, 8, 11), "light": (2, 5, 8, 11), "xl": (3, 5, 8)}
# As long as stock lists are, since stock controls align two lists at their starts.
_SLOTS = {"full": 12, "light": 12, "xl": 10}
_CHANNEL_MULTIPLES = {"full": [1, 2, 4, 4], "light": [1, 2, 4, 4], "xl": [1, 2, 4]}


class LoadedAdapter:
    """An adapter's network in ComfyUI's memory manager."""

    def __init__(
        self, network: nn.Module, config: AdapterConfig, name: str, source: object = None
    ) -> None:
        self.name = name
        self.config = config
        self.source = source
        self.patcher = ModelPatcher(
            # fp32 whatever the file holds: it runs once per sampling, so precision is free.
            network.float(),
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )

    @classmethod
    def from_file(cls, file: AdapterFile, name: str) -> "LoadedAdapter":
        """Our own network with the weights of a file."""
        return cls(file.build(), file.config, name)

    @classmethod
    def from_core(cls, control: T2IAdapter) -> "LoadedAdapter":
        """A copy of the network that ComfyUI's own loader has built, which is its `source`.

        ComfyUI moves and casts the original whenever it samples with it, so it is not shared.
        """
        network = copy.deepcopy(control.t2i_model)
        config = parse_adapter(network.state_dict(), "This T2I-Adapter").config
        return cls(network, config, "of Load ControlNet Model", source=control.t2i_model)

    def features(self, condition: Tensor, height: int, width: int) -> list[Tensor]:
        """Features of an image [B,C,H,W] for a latent of height x width, one a level."""
        config = self.config
        to = config.unshuffle
        size = [-(-side * LATENT_FACTOR // to) * to for side in (width, height)]
        scaled = comfy.utils.common_upscale(condition, *size, "nearest-exact", "center")
        scaled = scaled.to(device=self.patcher.load_device, dtype=torch.float32)
        if config.in_channels == 1:
            scaled = scaled.mean(1, keepdim=True)
        elif scaled.shape[1] == 1:
            scaled = scaled.expand(-1, 3, -1, -1)
        features = self.patcher.model(scaled[:, : config.in_channels])
        if isinstance(features, dict):  # ComfyUI's network: slots, deepest first
            slots = [*features.get("middle", []), *features["input"]]
            features = [feature for feature in reversed(slots) if feature is not None]
        return features


@dataclass(frozen=True)
class AdapterRegion:
    """One adapter at work: where, on what, how strongly and when.

    condition [1 or B,C,H,W] in 0..1; mask [1 or B,1,H,W] in 0..1 or None for everywhere;
    percent_range: share of the sampling, start to end; level_weights: one a level, or None.
    """

    adapter: LoadedAdapter
    condition: Tensor
    mask: Tensor | None = None
    strength: float = 1.0
    percent_range: tuple[float, float] = (0.0, 1.0)
    level_weights: tuple[float, ...] | None = None
    resize: MaskResize = MaskResize.AREA

    def features(self, height: int, width: int, batch: int) -> list[Tensor]:
        """Gated features for a latent of height x width, [1 or batch,C,h,w] a level."""
        match_batch(self.condition, batch, "condition image")
        features = self.adapter.features(self.condition, height, width)
        weights = [w * self.strength for w in self.level_weights or [1.0] * len(features)]
        if self.mask is None:
            return [feature * weight for feature, weight in zip(features, weights, strict=True)]
        match_batch(self.mask, batch)
        mask = comfy.utils.common_upscale(
            self.mask, width * LATENT_FACTOR, height * LATENT_FACTOR, "area", "center"
        ).to(features[0].device)
        return gate_features(features, mask, weights, self.resize)


class AdapterControl(ControlBase):
    """The control object of one or several adapter regions."""

    def __init__(self, adapter: LoadedAdapter, regions: Sequence[AdapterRegion] = ()) -> None:
        super().__init__()
        self.adapter = adapter
        self._regions = tuple(regions)
        self._ranges: list[tuple[float, float]] = []
        self._gated: dict[tuple[int, int, int], list[list[Tensor]]] = {}
        self._summed: dict[tuple[object, ...], dict[str, list[Tensor | None]]] = {}

    @property
    def regions(self) -> tuple[AdapterRegion, ...]:
        """Our own regions, or the one that a stock Apply ControlNet node has set."""
        if self._regions or self.cond_hint_original is None:
            return self._regions
        return (
            AdapterRegion(
                self.adapter,
                self.cond_hint_original,
                strength=self.strength,
                percent_range=self.timestep_percent_range,
            ),
        )

    def with_regions(self, regions: Sequence[AdapterRegion]) -> "AdapterControl":
        """A new control that holds these regions and no predecessor."""
        return AdapterControl(self.adapter, regions)

    def copy(self) -> "AdapterControl":
        """A control of the same adapter, as stock nodes ask for before they set a condition."""
        new = AdapterControl(self.adapter, self._regions)
        self.copy_to(new)
        return new

    def get_models(self) -> list[ModelPatcher]:
        """All adapters, so that ComfyUI loads and frees them."""
        patchers = {id(r.adapter): r.adapter.patcher for r in self.regions}
        return [*super().get_models(), *patchers.values()]

    def pre_run(self, model: object, percent_to_timestep_function: Callable) -> None:
        """Called once before the first step."""
        super().pre_run(model, percent_to_timestep_function)
        for region in self.regions:
            check_family(region.adapter, model)
        self._ranges = [
            tuple(percent_to_timestep_function(p) for p in r.percent_range) for r in self.regions
        ]

    def cleanup(self) -> None:
        """Called once after the last step."""
        super().cleanup()
        self._gated.clear()
        self._summed.clear()

    def get_control(
        self,
        x_noisy: Tensor,
        t: Tensor,
        cond: dict,
        batched_number: int,
        transformer_options: dict,
    ) -> dict[str, list[Tensor | None]] | None:
        """The features of all regions that act at `t`, added to those of earlier controls."""
        previous = None
        if self.previous_controlnet is not None:
            previous = self.previous_controlnet.get_control(
                x_noisy, t, cond, batched_number, transformer_options
            )
        active = tuple(i for i, (start, end) in enumerate(self._ranges) if end <= t[0] <= start)
        if not active:
            return previous
        key = (active, tuple(x_noisy.shape), batched_number, x_noisy.dtype)
        if key not in self._summed:
            self._summed[key] = self._sum(active, x_noisy, batched_number)
        return merge(self._summed[key], previous)

    def _sum(
        self, active: tuple[int, ...], x: Tensor, batched_number: int
    ) -> dict[str, list[Tensor | None]]:
        height, width = x.shape[-2:]
        batch = len(x) // batched_number
        size = (height, width, batch)
        if size not in self._gated:
            self._gated[size] = [r.features(height, width, batch) for r in self.regions]
        slots: dict[str, list[Tensor | None]] = {"input": [], "middle": [], "output": []}
        for i in active:
            features = [
                f if len(f) == 1 else f.repeat(batched_number, 1, 1, 1)
                for f in self._gated[size][i]
            ]
            slots = merge(to_slots(self.regions[i].adapter.config.kind, features), slots)
        return {
            key: [None if f is None else f.to(device=x.device, dtype=x.dtype) for f in row]
            for key, row in slots.items()
        }


def to_slots(kind: str, features: Sequence[Tensor]) -> dict[str, list[Tensor | None]]:
    """Features a level -> ComfyUI's lists, which the UNet empties from their ends."""
    blocks = _INPUT_BLOCKS[kind]
    row: list[Tensor | None] = [None] * _SLOTS[kind]
    for block, feature in zip(blocks, features, strict=False):
        row[block] = feature
    return {"input": row[::-1], "middle": list(features[len(blocks) :]), "output": []}


def merge(
    control: dict[str, list[Tensor | None]], previous: dict[str, list[Tensor | None]] | None
) -> dict[str, list[Tensor | None]]:
    """Add two controls slot by slot; neither is changed.

    Both lists are emptied from their ends, so they are aligned there.
    """
    if previous is None:
        return {key: list(row) for key, row in control.items()}
    out: dict[str, list[Tensor | None]] = {}
    for key in ("input", "middle", "output"):
        ours, theirs = list(control.get(key, [])), list(previous.get(key, []))
        length = max(len(ours), len(theirs))
        ours = [None] * (length - len(ours)) + ours
        theirs = [None] * (length - len(theirs)) + theirs
        out[key] = [
            b if a is None else a if b is None else b + a for a, b in zip(ours, theirs, strict=True)
        ]
    return out


def check_family(adapter: LoadedAdapter, model: object) -> None:
    """Raise ValueError if the model's UNet has no place for this adapter's features."""
    config = adapter.config
    unet = getattr(getattr(model, "model_config", None), "unet_config", {})
    width, multiples = unet.get("model_channels"), list(unet.get("channel_mult", []))
    expected = _CHANNEL_MULTIPLES[config.kind]
    if width == config.channels[0] and multiples == expected:
        return
    found = type(getattr(model, "model_config", model)).__name__
    raise ValueError(
        f"The adapter {adapter.name} is for {family_name(config)}, but the model is {found}; load "
        f"an adapter for {found}, or a checkpoint of the adapter's family."
    )
