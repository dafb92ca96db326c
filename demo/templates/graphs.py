"""The templates, each a function that draws one with a kit."""

from .blocks import (
    CONTROL,
    LOAD,
    PROMPT,
    RESULT,
    SAMPLE,
    add_region,
    apply,
    choose_region,
    decode,
    empty_latent,
    load_adapter,
    load_checkpoint,
    load_picture,
    load_qwen,
    make_source,
    open_model,
    preview,
    prompt_in_region,
    sample,
    save,
    show_edges,
    write_prompts,
)
from .canvas import Canvas
from .kits import Kit


def one_node(canvas: Canvas, kit: Kit) -> None:
    """The whole in one node."""
    with canvas.group("Model and prompt", LOAD):
        model = load_checkpoint(canvas, kit)
        positive, negative = write_prompts(canvas, kit, model.clip)
    with canvas.group("Picture to follow", CONTROL):
        picture, mask = load_picture(canvas, kit.picture)
    with canvas.group("Local control", SAMPLE):
        node = canvas.add(
            "LocalControl_LocalControl",
            wide=440,
            shows=True,
            model=model.model,
            positive=positive,
            negative=negative,
            vae=model.vae,
            image=picture,
            mask=mask,
            adapter_name=kit.edges[0],
            strength=kit.edges[1],
            acts_on=kit.acts_on,
            outside=kit.outside,
            width=kit.size,
            height=kit.size,
            steps=kit.steps,
            cfg=kit.cfg,
        )
    with canvas.group("Result", RESULT):
        save(canvas, node["image"])
        canvas.note(
            "**White in the mask is controlled**: there the image follows the edges of the "
            "picture, elsewhere the prompt alone. Press *Run*, and move the slider: it shows what "
            "control has changed.\n\nEdges not followed? Raise *strength*. Too stiff? Lower it, or "
            "end earlier. Too much changed outside? Start later, at 0.1 or 0.2.\n\n" + kit.note
        )


def one_region(canvas: Canvas, kit: Kit) -> None:
    """An adapter that controls one region of the picture."""
    model, adapter = open_model(
        canvas,
        kit,
        "**White in the mask is controlled**: there the image follows the edges of the "
        "picture. Everywhere else the prompt is free.",
    )
    _, region = choose_region(canvas, kit, adapter)
    _, controlled, latent = prompt_in_region(canvas, kit, model, region)
    with canvas.group("Sampling, in view", SAMPLE):
        shown = preview(canvas, model, regions=region["regions"])
        samples = sample(canvas, kit, shown["model"], controlled, latent)
    with canvas.group("Result", RESULT):
        save(canvas, decode(canvas, samples, model.vae))
        canvas.note("Too free? Raise the *strength* of the region. Too stiff? Lower it.")


def several_regions(canvas: Canvas, kit: Kit) -> None:
    """Edges of one picture in one region, colours of another in a second."""
    assert kit.colours is not None
    assert kit.second is not None
    with canvas.group("Model and adapters", LOAD):
        model = load_checkpoint(canvas, kit)
        edges = load_adapter(canvas, kit)
        colours = canvas.add("LocalControl_LoadAdapter", adapter_name=kit.colours[0])
        canvas.note(
            "Two regions, each with a control and a picture of its own: one follows **edges**, the "
            "other **colours**. Elsewhere the prompt is free.\n\n" + kit.note
        )
    with canvas.group("Region 1: edges", CONTROL):
        one = make_source(canvas, kit)
        first = add_region(canvas, kit, edges, one, "Region 1: edges")
    with canvas.group("Region 2: colours", CONTROL):
        picture, mask = load_picture(canvas, kit.second)
        canvas.next_column()
        blocks = canvas.add("LocalControl_Condition", shows=True, image=picture, kind="colour")
        canvas.next_column()
        second = canvas.add(
            "LocalControl_Region",
            "Region 2: colours",
            shows=True,
            control_net=colours["control_net"],
            image=blocks["condition"],
            mask=mask,
            regions=first["regions"],
            strength=kit.colours[1],
        )
    with canvas.group("Prompt", PROMPT):
        prompts = write_prompts(canvas, kit, model.clip, kit.two)
        controlled = apply(canvas, kit, prompts, second["regions"])
        latent = empty_latent(canvas, kit)
        canvas.next_column()
        canvas.add(
            "LocalControl_PreviewRegions", shows=True, regions=second["regions"], latent=latent
        )
    with canvas.group("Sampling, in view", SAMPLE):
        shown = preview(canvas, model, regions=second["regions"])
        samples = sample(canvas, kit, shown["model"], controlled, latent)
    with canvas.group("Result and scores", RESULT):
        image = decode(canvas, samples, model.vae)
        save(canvas, image)
        canvas.next_column()
        inputs = {"image": image, "condition": one.condition, "mask": one.mask}
        canvas.add("LocalControl_Score", "Score of the edges", shows=True, **inputs, **kit.canny)
        inputs = {"image": image, "condition": blocks["condition"], "mask": mask, "kind": "colour"}
        canvas.next_column()
        canvas.add("LocalControl_Score", "Score of the colours", shows=True, **inputs)


def watch_and_time(canvas: Canvas, kit: Kit) -> None:
    """z0' of every step, and how its edges come to those of the picture."""
    model, adapter = open_model(
        canvas,
        kit,
        "**z0'** is the image that the model expects at each step. *Preview z0'* shows it "
        "while it samples; *z0' Frames* keeps every step and draws how far its edges are from "
        "the picture's: green inside the mask, red outside. Where the green line is flat the "
        "control has done its work: click there, press *Set end_percent*, and run again.",
    )
    source, region = choose_region(canvas, kit, adapter)
    with canvas.group("Prompt", PROMPT):
        prompts = write_prompts(canvas, kit, model.clip)
        controlled = apply(canvas, kit, prompts, region["regions"])
        latent = empty_latent(canvas, kit)
        reference = canvas.add(
            "VAEEncode", "Reference for the numbers", pixels=source.picture, vae=model.vae
        )
    with canvas.group("Sampling, in view", SAMPLE):
        known = {"regions": region["regions"], "reference": reference["LATENT"]}
        shown = preview(canvas, model, **known)
        samples = sample(canvas, kit, shown["model"], controlled, latent)
    with canvas.group("Every step", RESULT):
        frames = canvas.add(
            "LocalControl_Z0Frames",
            wide=440,
            z0_trace=shown["z0_trace"],
            latent=samples,
            vae=model.vae,
            **known,
        )
        save(canvas, decode(canvas, samples, model.vae))
        canvas.next_column()
        canvas.add("PreviewImage", "z0' of every step", shows=True, images=frames["frames"])


def guide_without_adapter(canvas: Canvas, kit: Kit) -> None:
    """Edges from a reference, and no adapter at all."""
    with canvas.group("Model", LOAD):
        model = load_checkpoint(canvas, kit)
        canvas.note(
            "No adapter: at each step *Edge Guidance* moves the predicted image towards the edges "
            "of the picture, where the mask is white. It works with every model. Raise *scale* for "
            "more.\n\n" + kit.note
        )
    with canvas.group("What guides, and where", CONTROL):
        picture, mask = load_picture(canvas, kit.picture)
        canvas.next_column()
        reference = canvas.add("VAEEncode", pixels=picture, vae=model.vae)
        guided = canvas.add(
            "LocalControl_EdgeGuidance",
            model=model.model,
            reference=reference["LATENT"],
            mask=mask,
            scale=2.0,
        )
    with canvas.group("Prompt", PROMPT):
        prompts = write_prompts(canvas, kit, model.clip)
        latent = empty_latent(canvas, kit)
    with canvas.group("Sampling, in view", SAMPLE):
        shown = canvas.add(
            "LocalControl_Z0Preview", shows=True, model=guided["model"], vae=model.vae
        )
        samples = sample(canvas, kit, shown["model"], prompts, latent)
    with canvas.group("Result", RESULT):
        save(canvas, decode(canvas, samples, model.vae))


def with_and_without(canvas: Canvas, kit: Kit) -> None:
    """The same seed with control and without, and a score of both."""
    model, adapter = open_model(
        canvas,
        kit,
        "The same seed twice, with control and without. *Score* compares both: how well the "
        "inside follows its condition, and how little the outside was changed.",
    )
    source, region = choose_region(canvas, kit, adapter)
    prompts, controlled, latent = prompt_in_region(canvas, kit, model, region)
    with canvas.group("The same seed twice", SAMPLE):
        with_control = sample(canvas, kit, model.model, controlled, latent, "With control")
        without = sample(canvas, kit, model.model, prompts, latent, "Without control")
        canvas.next_column()
        image = decode(canvas, with_control, model.vae)
        free = decode(canvas, without, model.vae)
    with canvas.group("Results and score", RESULT):
        save(canvas, image, "With control")
        canvas.add("PreviewImage", "Without control", shows=True, images=free)
        canvas.next_column()
        inputs = {"image": image, "condition": source.condition, "mask": source.mask}
        canvas.add(
            "LocalControl_Score",
            wide=380,
            shows=True,
            **inputs,
            **kit.canny,
            uncontrolled=free,
        )


def inpaint(canvas: Canvas, kit: Kit) -> None:
    """Another thing in the place of the masked one, with its edges; the rest stays."""
    model, adapter = open_model(
        canvas,
        kit,
        "Only the masked part is sampled, and there the new image follows the edges of the old "
        "one. The rest of the picture stays as it is.",
    )
    source, region = choose_region(canvas, kit, adapter, "What is repainted")
    with canvas.group("Prompt", PROMPT):
        prompts = write_prompts(canvas, kit, model.clip)
        controlled = apply(canvas, kit, prompts, region["regions"])
        encoded = canvas.add("VAEEncode", pixels=source.picture, vae=model.vae)
        masked = canvas.add("SetLatentNoiseMask", samples=encoded["LATENT"], mask=source.mask)
    with canvas.group("Sampling, in view", SAMPLE):
        shown = preview(canvas, model, regions=region["regions"])
        samples = sample(canvas, kit, shown["model"], controlled, masked["LATENT"])
    with canvas.group("Result", RESULT):
        save(canvas, decode(canvas, samples, model.vae))


def hires(canvas: Canvas, kit: Kit) -> None:
    """A second sampling at twice the size, under the same regions."""
    model, adapter = open_model(
        canvas,
        kit,
        "The first result is doubled and sampled again. Regions know no size, so the same ones "
        "control both samplings; the second is decoded in tiles.",
    )
    _, region = choose_region(canvas, kit, adapter)
    _, controlled, latent = prompt_in_region(canvas, kit, model, region)
    with canvas.group("Small, then twice as large", SAMPLE):
        small = sample(canvas, kit, model.model, controlled, latent)
        doubled = canvas.add(
            "LatentUpscaleBy", samples=small, upscale_method="bislerp", scale_by=2.0
        )
        canvas.next_column()
        shown = preview(canvas, model, regions=region["regions"])
        large = sample(
            canvas, kit, shown["model"], controlled, doubled["LATENT"], denoise=kit.denoise
        )
    with canvas.group("Result", RESULT):
        image = canvas.add("VAEDecodeTiled", samples=large, vae=model.vae)
        save(canvas, image["IMAGE"])


def controlnet_in_a_region(canvas: Canvas, kit: Kit) -> None:
    """A ControlNet of Qwen-Image in one region."""
    with canvas.group("Model and ControlNet", LOAD):
        model = load_qwen(canvas, kit)
        control = canvas.add("ControlNetLoader", control_net_name=kit.edges[0])
        canvas.note(
            "Regions take any ControlNet. This one reads latents, so *Apply Local Control* has the "
            "VAE.\n\n" + kit.note
        )
    with canvas.group("What is controlled, and where", CONTROL):
        source = make_source(canvas, kit)
        canvas.next_column()
        region = canvas.add(
            "LocalControl_Region",
            shows=True,
            control_net=control["CONTROL_NET"],
            image=source.condition,
            mask=source.mask,
            strength=kit.edges[1],
        )
    with canvas.group("Prompt", PROMPT):
        prompts = write_prompts(canvas, kit, model.clip)
        controlled = apply(canvas, kit, prompts, region["regions"], vae=model.vae)
        latent = canvas.add("EmptySD3LatentImage", width=kit.size, height=kit.size)
    with canvas.group("Sampling, in view", SAMPLE):
        shifted = canvas.add("ModelSamplingAuraFlow", model=model.model, shift=3.1)
        shown = canvas.add(
            "LocalControl_Z0Preview",
            shows=True,
            model=shifted["MODEL"],
            regions=region["regions"],
            vae=model.vae,
        )
        samples = sample(
            canvas, kit, shown["model"], controlled, latent["LATENT"], scheduler="simple"
        )
    with canvas.group("Result", RESULT):
        save(canvas, decode(canvas, samples, model.vae))


def patch_in_a_region(canvas: Canvas, kit: Kit) -> None:
    """A control of Qwen-Image that is a model patch, gated by a mask."""
    name = "qwen_image_canny_diffsynth_controlnet.safetensors"
    with canvas.group("Model and patch", LOAD):
        model = load_qwen(canvas, kit)
        patch = canvas.add("ModelPatchLoader", name=name)
        canvas.note(
            "Some controls are patches of the model and no ControlNet. *Gate Model Patches* lets "
            "them act where the mask is white.\n\n" + kit.note
        )
    with canvas.group("What is controlled, and where", CONTROL):
        picture, mask = load_picture(canvas, kit.picture)
        canvas.next_column()
        condition = show_edges(canvas, kit, picture)
        patched = canvas.add(
            "QwenImageDiffsynthControlnet",
            model=model.model,
            model_patch=patch["MODEL_PATCH"],
            vae=model.vae,
            image=condition,
            strength=1.0,
        )
        gated = canvas.add("LocalControl_GatePatches", model=patched["MODEL"], mask=mask)
    with canvas.group("Prompt", PROMPT):
        prompts = write_prompts(canvas, kit, model.clip)
        latent = canvas.add("EmptySD3LatentImage", width=kit.size, height=kit.size)
    with canvas.group("Sampling, in view", SAMPLE):
        shifted = canvas.add("ModelSamplingAuraFlow", model=gated["model"], shift=3.1)
        shown = canvas.add(
            "LocalControl_Z0Preview", shows=True, model=shifted["MODEL"], vae=model.vae
        )
        samples = sample(canvas, kit, shown["model"], prompts, latent["LATENT"], scheduler="simple")
    with canvas.group("Result", RESULT):
        save(canvas, decode(canvas, samples, model.vae))
