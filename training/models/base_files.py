"""Bases as they are opened: SD1.5, SD2 and SDXL from a folder, the hub or a single file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDPMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors import SafetensorError, safe_open

from local_control.z0 import PredictionType

from ..data.words import shown
from .bases import TEXT_ENCODERS, Base, BaseModelError
from .checkpoint_marks import is_sdxl, read_schedule

_KINDS = {"epsilon": PredictionType.EPSILON, "v_prediction": PredictionType.V}
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
    SingleFileComponentError,
)
# Where the parts of a pipeline come from; an index may name any module, and it would be imported.
_LIBRARIES = {"diffusers", "transformers", "stable_diffusion", None}
_HALVES = {"F16": torch.float16, "BF16": torch.bfloat16}  # as safetensors call them
_UNET = "model.diffusion_model."  # how keys of a UNet begin in a single file
_VAE_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Hub:
    """Which files of hub models are meant: branch, tag or commit, and the variant of weights."""

    revision: str | None = None
    variant: str | None = None
    vae_revision: str | None = None


def load_base(
    name: str,
    config: str | None = None,
    vae: str | None = None,
    vae_dtype: str = "fp32",
    prediction: str | None = None,
    hub: Hub | None = None,
) -> Base:
    """Return a base of a diffusers folder, the hub, or one .safetensors file.

    config: folder or hub name of the configs of a single file; without it diffusers knows one.
    vae: another autoencoder, as a diffusers folder or hub name.
    prediction: what it predicts, in diffusers' words; without it the file or its configs say so.
    hub: which files of hub models are meant. Nothing that a folder or the hub holds is run.

    Raises:
        BaseModelError: it cannot be read, or is no UNet of these families.
    """
    hub = hub or Hub()
    parts = {} if vae is None else {"vae": _load_autoencoder(vae, hub.vae_revision)}
    schedule: dict[str, Any] = {}
    single = Path(name).suffix == ".safetensors"
    try:
        if single:
            pipeline = _load_single_file(Path(name), config, hub.revision, parts)
            schedule |= read_schedule(Path(name))
        else:
            _check_index(name, hub.revision)
            pipeline = _load_folder(name, hub, parts)
    except _UNREADABLE as error:
        raise BaseModelError(
            f"The base {name} cannot be loaded ({_first_line(error)}); name a diffusers "
            f"folder, a hub model or a .safetensors checkpoint of SD1.5, SD2 or SDXL."
        ) from error
    if prediction is not None:
        schedule["prediction_type"] = prediction
    pipeline.scheduler = _trained_schedule(pipeline, name, schedule)
    pipeline.vae.to(_VAE_DTYPES[vae_dtype])
    pipeline.set_progress_bar_config(disable=True)
    kind = _KINDS[pipeline.scheduler.config["prediction_type"]]
    # Single files were read in fp32 at first, and runs that began so go on.
    named_in = torch.float32 if single else None
    return Base(pipeline, pipeline.scheduler.alphas_cumprod, kind, named_in)


def _first_line(error: Exception) -> str:
    return shown(str(error).partition("\n")[0], 300)


def _load_folder(name: str, hub: Hub, parts: dict[str, Any]) -> Any:
    """The pipeline of a diffusers folder or hub name, its UNet in the precision of its file."""
    files = {"revision": hub.revision, "variant": hub.variant, "use_safetensors": True}
    folder = Path(name)
    if not folder.is_dir():
        found = DiffusionPipeline.download(name, trust_remote_code=False, **files)
        folder = Path(str(found))
    dtypes = {"default": torch.float32, "unet": _own_dtype(folder / "unet", hub.variant)}
    return DiffusionPipeline.from_pretrained(
        folder, torch_dtype=dtypes, trust_remote_code=False, **files, **parts
    )


def _own_dtype(folder: Path, variant: str | None) -> torch.dtype:
    """The precision of the weights in a folder; fp32 if there are none of this variant."""
    ending = ".safetensors" if variant is None else f".{variant}.safetensors"
    for path in sorted(folder.glob(f"*{ending}")):
        if variant is None and path.name.count(".") > 1:  # another variant
            continue
        with safe_open(path, framework="pt") as file:
            return _HALVES.get(file.get_slice(next(iter(file.keys()))).get_dtype(), torch.float32)
    return torch.float32


def _check_index(name: str, revision: str | None) -> None:
    """ValueError if the parts of a pipeline are not all of the libraries that are meant."""
    index: Any = DiffusionPipeline.load_config(name, revision=revision)
    parts = [value for key, value in index.items() if not key.startswith("_")]
    lists = [value for value in parts if isinstance(value, list)]
    if not isinstance(index.get("_class_name"), str) or any(
        not part or part[0] not in _LIBRARIES for part in lists
    ):
        raise ValueError("its index names code that is not of diffusers or transformers")


def _trained_schedule(pipeline: Any, name: str, changes: dict[str, Any]) -> Any:
    """The DDPMScheduler of a pipeline that adapters can be trained on."""
    unet = getattr(pipeline, "unet", None)
    if not isinstance(unet, UNet2DConditionModel):
        raise BaseModelError(
            f"The base {name} is a {type(pipeline).__name__} without a UNet; adapters are for "
            f"SD1.5, SD2 and SDXL."
        )
    if unet.config["in_channels"] != unet.config["out_channels"]:
        raise BaseModelError(
            f"The base {name} reads {unet.config['in_channels']} channels, as inpainting models "
            f"do; name the model that it was made from."
        )
    if missing := [part for part in TEXT_ENCODERS if getattr(pipeline, part, True) is None]:
        raise BaseModelError(
            f"The base {name} has no {missing[0]}, as SDXL's refiner has none; name the whole "
            f"model, for SDXL its base."
        )
    schedule = pipeline.scheduler.config
    if "sigma_data" in schedule:
        raise BaseModelError(
            f"The base {name} has an EDM schedule; adapters are not trained on it."
        )
    if "beta_start" not in schedule or schedule.get("use_flow_sigmas"):
        raise BaseModelError(
            f"The base {name} has the schedule of a {type(pipeline.scheduler).__name__}, without "
            f"the betas of diffusion; adapters are not trained on flow matching and its like."
        )
    scheduler: Any = DDPMScheduler.from_config(schedule, **changes)
    if scheduler.config["prediction_type"] not in _KINDS:
        raise BaseModelError(
            f"The base {name} predicts {scheduler.config['prediction_type']!r}; adapters are "
            f"trained on epsilon and v_prediction."
        )
    return scheduler


def _load_single_file(
    path: Path, config: str | None, revision: str | None, parts: dict[str, Any]
) -> Any:
    if not path.is_file():
        raise OSError(f"there is no file {path}")
    with safe_open(path, framework="pt") as file:
        keys = set(file.keys())
        dtypes = {file.get_slice(key).get_dtype() for key in keys if key.startswith(_UNET)}
    kind = StableDiffusionXLPipeline if is_sdxl(keys) else StableDiffusionPipeline
    options: dict[str, Any] = {}
    if config is not None:
        options = {"config": config, "local_files_only": Path(config).is_dir()}
        options["revision"] = revision
    if len(dtypes) == 1 and (dtype := _HALVES.get(dtypes.pop())):
        about = {"subfolder": "unet", "config_revision": revision} if config else {}
        parts = parts | {
            "unet": UNet2DConditionModel.from_single_file(
                str(path), torch_dtype=dtype, **options, **about
            )
        }
    return kind.from_single_file(str(path), **options, **parts)


def _load_autoencoder(name: str, revision: str | None) -> AutoencoderKL | AutoencoderTiny:
    try:
        config = AutoencoderKL.load_config(name, revision=revision)
        tiny = isinstance(config, dict) and config.get("_class_name") == "AutoencoderTiny"
        kind = AutoencoderTiny if tiny else AutoencoderKL
        return kind.from_pretrained(name, revision=revision, use_safetensors=True)
    except _UNREADABLE as error:
        raise BaseModelError(
            f"The autoencoder {name} cannot be loaded ({_first_line(error)}); name a "
            f"diffusers folder or a hub model that holds safetensors."
        ) from error
