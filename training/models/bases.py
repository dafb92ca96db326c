"""A frozen base model of diffusers: what it is, where it is, and what it encodes and decodes."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from torch import Tensor

from local_control.adapter import AdapterConfig, Kind
from local_control.checkpoint import AdapterFileError
from local_control.z0 import PredictionType, check_levels

from ..data.digests import digest
from .attention import Fp32Attention
from .weights import weights_digest

TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
_WIDTH, _SD2_TEXT = 320, 1024


class BaseModelError(ValueError):
    """A base that cannot be trained on; the message says why and what to do."""


@dataclass
class Base:
    """A frozen base: `pipeline` owns all modules, `kind` and `alphas_cumprod` [T] its schedule.

    named_in: the precision that its UNet's name is of, whatever it is kept in; None: its own.
    """

    pipeline: Any  # StableDiffusionPipeline or StableDiffusionXLPipeline
    alphas_cumprod: Tensor
    kind: PredictionType
    named_in: torch.dtype | None = None

    @property
    def unet(self) -> UNet2DConditionModel:
        """Return the denoiser."""
        return self.pipeline.unet

    @property
    def is_xl(self) -> bool:
        """Return whether the UNet wants pooled text and time ids."""
        return getattr(self.unet.config, "addition_embed_type", None) == "text_time"

    @property
    def device(self) -> torch.device:
        """Return where the UNet is."""
        return self.unet.device

    @property
    def resolution(self) -> int:
        """Return the side of the squares that the base was made for, in px."""
        return self.pipeline.vae_scale_factor * self.unet.config["sample_size"]

    @property
    def family(self) -> str:
        """Return SD1.5, SD2 (with "v" if it predicts v), SDXL, or the width of other bases.

        SD2 has SD1.5's channels and another text encoder.
        """
        if self.is_xl:
            return "SDXL"
        width = self.unet.config["block_out_channels"][0]
        if width != _WIDTH:
            return f"width {width}"
        if self.unet.config["cross_attention_dim"] != _SD2_TEXT:
            return "SD1.5"
        return "SD2 v" if self.kind is PredictionType.V else "SD2"

    def adapter_config(self, kind: Kind | None, in_channels: int) -> AdapterConfig:
        """Return the shape of an adapter for this base; `kind` None: xl for SDXL, else full.

        Raises:
            BaseModelError: no adapter of that kind fits the base.
        """
        channels = tuple(self.unet.config["block_out_channels"])
        kind = kind or ("xl" if self.is_xl else "full")
        if (kind == "xl") != self.is_xl:
            raise BaseModelError(
                f"This base is {'SDXL' if self.is_xl else 'not SDXL'}, so --adapter_type {kind} "
                f"does not fit it; use auto."
            )
        if kind == "xl":
            channels = (*channels, channels[-1])
        blocks = 4 if kind == "light" else 2
        return AdapterConfig(kind=kind, in_channels=in_channels, channels=channels, blocks=blocks)

    def check_fit(self, config: AdapterConfig, name: str) -> None:
        """AdapterFileError if the adapter `name` is not of this base's channels."""
        kind = config.kind if (config.kind == "xl") == self.is_xl else None
        needed = self.adapter_config(kind, config.in_channels)
        if (config.kind, config.channels) != (needed.kind, needed.channels):
            raise AdapterFileError(
                f"{name} is a {config.kind} adapter with channels {config.channels}; this base "
                f"needs {needed.kind} and {needed.channels}."
            )

    def place(self, device: torch.device, dtype: torch.dtype | None, shared: bool = False) -> None:
        """Freeze all, and bring the UNet to `device` for mixed precision in `dtype`.

        On a CPU it stays in fp32, since norms there take no mixture; autocast casts its layers.
        shared: among the processes, each of which keeps a share of its weights.
        """
        for frozen in self._modules():
            frozen.eval().requires_grad_(False)
        unet: Any = self.unet
        self.alphas_cumprod = self.alphas_cumprod.to(device)
        kept = torch.float32 if device.type == "cpu" or dtype is None else dtype
        if device.type == "cpu" and dtype is not None:
            unet.set_attn_processor(Fp32Attention())
        if shared:
            # Not every torch has what this imports.
            from .shared_base import share_weights

            share_weights(unet, device, kept)
        else:
            unet.to(device, kept)

    def free_text_encoders(self) -> None:
        """Let go of the text encoders, once all captions are embedded."""
        for name in TEXT_ENCODERS:
            setattr(self.pipeline, name, None)

    def check_z0(self) -> None:
        """Raise BaseModelError if z0' is infinite at a timestep of the base."""
        try:
            check_levels(self.alphas_cumprod, self.kind)
        except ValueError as error:
            raise BaseModelError(
                f"{error} Or train without it: --z0_loss_weight 0 --decoded_loss_weight 0, and no "
                f"--snr_gamma 0."
            ) from None

    def autoencoder_on(self, device: torch.device) -> AbstractContextManager[None]:
        """Return a context in which the autoencoder is on `device`; after it, on the CPU."""
        return _lent([self.pipeline.vae], device)

    def text_encoders_on(self, device: torch.device) -> AbstractContextManager[None]:
        """Return a context in which the text encoders are on `device`; after it, on the CPU."""
        return _lent(self._text_encoders(), device)

    @cached_property
    def unet_name(self) -> str:
        """Return a name for what predictions depend on; ask before the UNet is placed."""
        schedule = self.alphas_cumprod.cpu().numpy().tobytes()
        return digest(weights_digest(self.unet, self.named_in), schedule, self.kind.name)

    @cached_property
    def autoencoder_name(self) -> str:
        """Return a name for what latents depend on."""
        vae = self.pipeline.vae
        return digest(weights_digest(vae), vae.config["scaling_factor"], str(vae.dtype))

    @cached_property
    def text_name(self) -> str:
        """Return a name for what text embeddings depend on."""
        names = ("tokenizer", "tokenizer_2")
        tokenizers = [getattr(self.pipeline, name, None) for name in names]
        said = [(t.get_vocab(), t.pad_token, t.model_max_length) for t in tokenizers if t]
        return digest(said, *map(weights_digest, self._text_encoders()))

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Return latents [B,C,H/8,W/8] in the UNet's scale of images [B,3,H,W] in 0..1, fp32."""
        vae = self.pipeline.vae
        encoded = vae.encode((2 * images - 1).to(vae.device, vae.dtype))
        mode = encoded.latents if isinstance(vae, AutoencoderTiny) else encoded.latent_dist.mode()
        return mode.float() * vae.config["scaling_factor"]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return images [B,3,H,W] in 0..1 of latents [B,C,H/8,W/8] in the UNet's scale, fp32."""
        return self.decode_with_gradient(latents).clamp(0, 1)

    def decode_with_gradient(self, latents: Tensor) -> Tensor:
        """Return the same, differentiable and not held to 0..1, once the autoencoder is there."""
        vae = self.pipeline.vae
        unscaled = latents / vae.config["scaling_factor"]
        images = vae.decode(unscaled.to(vae.device, vae.dtype)).sample
        return images.float().add(1).div(2)

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Return context [B,T,D], and for SDXL pooled [B,P], of captions; long ones are cut off."""
        with _quiet():  # it would print all that is cut off
            found = self.pipeline.encode_prompt(
                prompt=list(captions),
                device=self.pipeline.text_encoder.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
            )
        text = {"context": found[0]}
        return text | {"pooled": found[2]} if self.is_xl else text

    def is_cut(self, caption: str) -> bool:
        """Return whether a caption is too long for the text encoder."""
        tokenizer = self.pipeline.tokenizer
        return len(tokenizer(caption, verbose=False).input_ids) > tokenizer.model_max_length

    def _text_encoders(self) -> list[Any]:
        found = [getattr(self.pipeline, name, None) for name in TEXT_ENCODERS]
        return [encoder for encoder in found if encoder is not None]

    def _modules(self) -> list[Any]:
        return [self.unet, self.pipeline.vae, *self._text_encoders()]


@contextmanager
def _quiet() -> Iterator[None]:
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)


@contextmanager
def _lent(modules: Sequence[Any], device: torch.device) -> Iterator[None]:
    for module in modules:
        module.to(device)
    try:
        yield
    finally:
        for module in modules:
            module.to("cpu")
