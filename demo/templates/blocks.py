"""The parts that most templates have, and their colours."""

from dataclasses import dataclass
from typing import Any

from .canvas import Canvas, Node, Output
from .kits import Kit, Picture

LOAD, CONTROL, PROMPT = "#7a8f99", "#88aa88", "#b58b2a"
SAMPLE, RESULT = "#3f789e", "#b04fa8"


@dataclass(frozen=True)
class Model:
    """A model with its text encoder and VAE."""

    model: Output
    clip: Output
    vae: Output


@dataclass(frozen=True)
class Source:
    """A picture, its mask, and the condition that is made of it."""

    picture: Output
    mask: Output
    condition: Output


def load_checkpoint(canvas: Canvas, kit: Kit) -> Model:
    """Return model, text encoder and VAE of one checkpoint."""
    loader = canvas.add("CheckpointLoaderSimple", ckpt_name=kit.checkpoint)
    return Model(loader["MODEL"], loader["CLIP"], loader["VAE"])


def load_qwen(canvas: Canvas, kit: Kit) -> Model:
    """Return model, text encoder and VAE of Qwen-Image, which comes in three files."""
    model = canvas.add("UNETLoader", unet_name=kit.checkpoint, weight_dtype="default")
    name = "qwen_2.5_vl_7b_fp8_scaled.safetensors"
    clip = canvas.add("CLIPLoader", clip_name=name, type="qwen_image")
    vae = canvas.add("VAELoader", vae_name="qwen_image_vae.safetensors")
    return Model(model["MODEL"], clip["CLIP"], vae["VAE"])


def load_adapter(canvas: Canvas, kit: Kit) -> Output:
    """Return the adapter for edges."""
    return canvas.add("LocalControl_LoadAdapter", adapter_name=kit.edges[0])["control_net"]


def load_picture(canvas: Canvas, picture: Picture, title: str | None = None) -> tuple:
    """Return a picture and its mask, from a file of its own or painted on the picture."""
    image = canvas.add("LoadImage", title or "Picture", shows=True, image=picture.name)
    if picture.mask is None:
        return image["IMAGE"], image["MASK"]
    mask = canvas.add(
        "LoadImageMask", "Mask: white is controlled", shows=True, image=picture.mask, channel="red"
    )
    return image["IMAGE"], mask["MASK"]


def show_edges(canvas: Canvas, kit: Kit, picture: Output) -> Output:
    """Return the condition for an adapter of edges."""
    node = canvas.add(
        "LocalControl_Condition", shows=True, image=picture, kind="canny", **kit.canny
    )
    return node["condition"]


def make_source(canvas: Canvas, kit: Kit) -> Source:
    """Return the picture with its mask, and its edges in the next column."""
    picture, mask = load_picture(canvas, kit.picture)
    canvas.next_column()
    return Source(picture, mask, show_edges(canvas, kit, picture))


def add_region(
    canvas: Canvas, kit: Kit, adapter: Output, source: Source, title: str | None = None
) -> Node:
    """Return the region of a source in a column of its own, under control of its edges."""
    canvas.next_column()
    return canvas.add(
        "LocalControl_Region",
        title,
        shows=True,
        control_net=adapter,
        image=source.condition,
        mask=source.mask,
        strength=kit.edges[1],
        acts_on=kit.acts_on,
    )


def open_model(canvas: Canvas, kit: Kit, words: str) -> tuple[Model, Output]:
    """Return model and adapter in a group of their own, where words say what the template does."""
    with canvas.group("Model and adapter", LOAD):
        model = load_checkpoint(canvas, kit)
        adapter = load_adapter(canvas, kit)
        canvas.note(f"{words}\n\n{kit.note}")
    return model, adapter


def choose_region(
    canvas: Canvas,
    kit: Kit,
    adapter: Output,
    title: str = "What is controlled, and where",
) -> tuple[Source, Node]:
    """Return a source and its region in a group of their own."""
    with canvas.group(title, CONTROL):
        source = make_source(canvas, kit)
        region = add_region(canvas, kit, adapter, source)
    return source, region


def write_prompts(canvas: Canvas, kit: Kit, clip: Output, text: str = "") -> tuple:
    """Return the positive and the negative prompt."""
    positive = canvas.add("CLIPTextEncode", "Prompt", clip=clip, text=text or kit.prompt)
    negative = canvas.add("CLIPTextEncode", "Negative prompt", clip=clip, text=kit.negative)
    return positive["CONDITIONING"], negative["CONDITIONING"]


def apply(canvas: Canvas, kit: Kit, prompts: tuple, regions: Output, **more: Any) -> tuple:
    """Return both prompts under the control of the regions."""
    positive, negative = prompts
    node = canvas.add(
        "LocalControl_Apply",
        positive=positive,
        negative=negative,
        regions=regions,
        outside=kit.outside,
        **more,
    )
    return node["positive"], node["negative"]


def empty_latent(canvas: Canvas, kit: Kit) -> Output:
    """Return what sampling begins with."""
    size = kit.size
    return canvas.add("EmptyLatentImage", width=size, height=size, batch_size=1)["LATENT"]


def prompt_in_region(
    canvas: Canvas, kit: Kit, model: Model, region: Node
) -> tuple[tuple, tuple, Output]:
    """Return both prompts, the same under the region's control, and the latent, in their group."""
    with canvas.group("Prompt", PROMPT):
        prompts = write_prompts(canvas, kit, model.clip)
        controlled = apply(canvas, kit, prompts, region["regions"])
        return prompts, controlled, empty_latent(canvas, kit)


def preview(canvas: Canvas, model: Model, **more: Any) -> Node:
    """Return Preview z0', which shows every step through the VAE."""
    return canvas.add(
        "LocalControl_Z0Preview", shows=True, model=model.model, vae=model.vae, **more
    )


def sample(
    canvas: Canvas,
    kit: Kit,
    model: Output,
    prompts: tuple,
    latent: Output,
    title: str | None = None,
    **more: Any,
) -> Output:
    """Return the sampled LATENT."""
    positive, negative = prompts
    numbers = {"seed": 0, "steps": kit.steps, "cfg": kit.cfg, "denoise": 1.0}
    names = {"sampler_name": "euler", "scheduler": "normal"}
    inputs = {"model": model, "positive": positive, "negative": negative, "latent_image": latent}
    return canvas.add("KSampler", title, **{**inputs, **numbers, **names, **more})["LATENT"]


def decode(canvas: Canvas, samples: Output, vae: Output, title: str | None = None) -> Output:
    """Return the decoded IMAGE."""
    return canvas.add("VAEDecode", title, samples=samples, vae=vae)["IMAGE"]


def save(canvas: Canvas, image: Output, title: str | None = None) -> None:
    """The result in view and in the output folder."""
    canvas.add("SaveImage", title, shows=True, images=image, filename_prefix="local_control")
