"""The T2I-Adapter network (Mou et al., arXiv 2302.08453), one for training and for the graph.

Its parameters carry the names of the flat (TencentARC) layout, so a state dict of it is a file
that stock ComfyUI reads. Pooling of odd sizes rounds up as the UNet's own downsampling does.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["full", "light", "xl"]

# Which levels start by halving their size, and the pixel-unshuffle factor before the first.
_DOWN: dict[Kind, tuple[int, ...]] = {"full": (1, 2, 3), "light": (1, 2, 3), "xl": (2,)}
_UNSHUFFLE: dict[Kind, int] = {"full": 8, "light": 8, "xl": 16}


@dataclass(frozen=True)
class AdapterConfig:
    """The shape of an adapter: everything that its weights imply.

    channels: feature channels a level. blocks: residual blocks a level. kernel: of the second
    convolution in a full or XL block. strided: downsampling by a convolution, not by pooling.
    """

    kind: Kind = "full"
    in_channels: int = 1
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    blocks: int = 2
    kernel: int = 1
    strided: bool = False

    @property
    def unshuffle(self) -> int:
        """Return what the image's sides must be multiples of, in pixels."""
        return _UNSHUFFLE[self.kind]

    @property
    def factors(self) -> tuple[int, ...]:
        """Return the image's sides over those of the features, one factor a level."""
        halved = _DOWN[self.kind]
        levels = range(len(self.channels))
        return tuple(
            self.unshuffle * 2 ** sum(down <= level for down in halved) for level in levels
        )

    @property
    def input_channels(self) -> int:
        """Return how many channels the condition has after the pixel unshuffle."""
        return self.in_channels * self.unshuffle**2


class _Down(nn.Module):
    """Halve the size, by pooling or by a strided convolution."""

    def __init__(self, channels: int, strided: bool) -> None:
        super().__init__()
        if strided:
            self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        else:
            self.op = None

    def forward(self, x: Tensor) -> Tensor:
        if self.op is not None:
            return self.op(x)
        return F.avg_pool2d(x, 2, ceil_mode=True)


class _FullBlock(nn.Module):
    """Residual block of the full and XL adapters, perhaps halving and widening first."""

    def __init__(self, c_in: int, c_out: int, config: AdapterConfig, down: bool) -> None:
        super().__init__()
        kernel = config.kernel
        self.down_opt = _Down(c_in, config.strided) if down else None
        self.in_conv = (
            nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2) if c_in != c_out else None
        )
        self.block1 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.block2 = nn.Conv2d(c_out, c_out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.down_opt is not None:
            x = self.down_opt(x)
        if self.in_conv is not None:
            x = self.in_conv(x)
        return x + self.block2(F.relu(self.block1(x)))


class _LightResidual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.block2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block2(F.relu(self.block1(x)))


class _LightLevel(nn.Module):
    """One level of the light adapter: narrow, residual blocks, widen."""

    def __init__(self, c_in: int, c_out: int, blocks: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.in_conv = nn.Conv2d(c_in, c_out // 4, 1)
        self.body = nn.Sequential(*[_LightResidual(c_out // 4) for _ in range(blocks)])
        self.out_conv = nn.Conv2d(c_out // 4, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.down:
            x = F.avg_pool2d(x, 2, ceil_mode=True)
        return self.out_conv(self.body(self.in_conv(x)))


class Adapter(nn.Module):
    """condition [B,in_channels,H,W] in 0..1 -> one feature map [B,C_i,h_i,w_i] a level.

    full, light: at H/8, H/16, H/32, H/64. xl: at H/16, H/16, H/32, H/32.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_in: nn.Conv2d | None = None
        down, c = _DOWN[config.kind], config.channels
        if config.kind == "light":
            widths = (config.input_channels, *c)
            self.body = nn.ModuleList(
                _LightLevel(widths[i], widths[i + 1], config.blocks, i in down)
                for i in range(len(c))
            )
            return
        self.conv_in = nn.Conv2d(config.input_channels, c[0], 3, padding=1)
        self.body = nn.ModuleList(
            _FullBlock(
                c[max(i - 1, 0)] if j == 0 else c[i], c[i], config, down=j == 0 and i in down
            )
            for i in range(len(c))
            for j in range(config.blocks)
        )

    def forward(self, condition: Tensor) -> list[Tensor]:
        """Return one feature map a level, of a condition as the class has it.

        Raises:
            ValueError: the condition's size or channels do not fit.
        """
        config = self.config
        height, width = condition.shape[-2:]
        if height % config.unshuffle or width % config.unshuffle:
            raise ValueError(
                f"The condition is {width} x {height}, but this adapter needs sides that are "
                f"multiples of {config.unshuffle}."
            )
        if condition.shape[1] != config.in_channels:
            raise ValueError(
                f"The condition has {condition.shape[1]} channels, but this adapter reads "
                f"{config.in_channels}."
            )
        x = F.pixel_unshuffle(condition, config.unshuffle)
        if self.conv_in is not None:
            x = self.conv_in(x)
        features = []
        for index, block in enumerate(self.body):
            x = block(x)
            if self.conv_in is None or (index + 1) % config.blocks == 0:
                features.append(x)
        return features
