"""Controls that are model patches: DiffSynth's own, with small random weights, on a small Qwen."""

import asyncio
from types import SimpleNamespace

import pytest
import torch
from images import left, top
from kinds import windowed
from small_controls import qwen, wan
from small_models import build_model, fill

SIZE = 16
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture
def setup():
    return qwen()


@pytest.fixture
def patched(comfy, setup):
    import comfy.ops
    from comfy_extras.nodes_model_patch import DiffSynthCnetPatch, QwenImageBlockWiseControlNet

    network = QwenImageBlockWiseControlNet(
        num_layers=2,
        in_dim=64,
        dim=32,
        dtype=torch.float32,
        device="cpu",
        operations=comfy.ops.disable_weight_init,
    )
    fill(network.eval().requires_grad_(False), seed=7)
    image = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(4))
    patch = DiffSynthCnetPatch(SimpleNamespace(model=network), setup.vae, image, 1.0)
    patch.models = list  # the stand-in is nothing for the memory manager
    model = setup.model.clone()
    model.set_model_double_block_patch(patch)
    return model


def gate(comfy, model, mask):
    return comfy.nodes["LocalControl_GatePatches"].execute(model, mask).result[0]


def sample(setup, model, batch=1, cfg=2.0, areas=None):
    import comfy.sample

    positive, negative = setup.text(0), setup.text(1)
    if areas is not None:
        positive = [[text, {**rest, "area": area}] for text, rest in positive for area in areas]
    noise = torch.randn(batch, 16, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    options = {"seed": 0, "disable_pbar": True}
    return comfy.sample.sample(
        model,
        noise,
        3,
        cfg,
        "euler",
        "simple",
        positive,
        negative,
        torch.zeros_like(noise),
        **options,
    )


def test_a_black_mask_equals_no_patch_and_all_equals_the_plain_patch(comfy, setup, patched):
    masks = torch.stack([torch.zeros(128, 128), torch.ones(128, 128)])
    both = sample(setup, gate(comfy, patched, masks), batch=2)
    assert torch.equal(both[0], sample(setup, setup.model, batch=2)[0])
    free, plain = sample(setup, setup.model), sample(setup, patched)
    full = sample(setup, gate(comfy, patched, torch.ones(1, 128, 128)))
    torch.testing.assert_close(full, plain, **CLOSE)
    assert not torch.allclose(plain, free)


def test_left_differs_from_top_and_the_model_given_is_untouched(comfy, setup, patched):
    before = sample(setup, patched)
    results = [sample(setup, gate(comfy, patched, mask)) for mask in (left(), top())]
    assert not torch.allclose(*results)
    assert torch.equal(sample(setup, patched), before)
    assert not patched.wrappers


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_masks_in_half_and_double_precision_give_what_fp32_gives(comfy, setup, patched, dtype):
    mask = (0.3 * left() + 0.6 * top()).to(dtype)
    found = sample(setup, gate(comfy, patched, mask))
    assert torch.equal(found, sample(setup, gate(comfy, patched, mask.float())))
    assert not torch.allclose(found, sample(setup, patched))


def adding_one(args):
    args["img"] += 1  # in place, as DiffSynth does
    return args


def test_tokens_are_changed_inside_the_mask_and_those_of_no_place_by_its_share(comfy):
    mask = comfy.module("local_control.region_mask").RegionMask(left()[:, None])
    gated = comfy.module("nodes.sampler.control.gated_patch").AfterBlock.around(adding_one, mask)
    img = torch.zeros(2, 64 + 5, 3)  # five tokens of padding follow
    out = gated({"img": img, "x": torch.zeros(2, 16, 1, SIZE, SIZE), "block_index": 0})
    rows = out["img"][:, :64].reshape(2, 8, 8, 3)
    assert rows[:, :, :4].min() == 1
    assert rows[:, :, 4:].max() == 0
    assert (out["img"][:, 64:] == 0.5).all()
    assert img.abs().max() == 0


def test_each_latent_has_its_mask_for_both_prompts(comfy):
    masks = torch.cat([left(), 1 - left()])[:, None]
    mask = comfy.module("local_control.region_mask").RegionMask(masks)
    gated = comfy.module("nodes.sampler.control.gated_patch").AfterBlock.around(adding_one, mask)
    call = {
        "img": torch.zeros(4, 64, 3),
        "x": torch.zeros(4, 16, 1, SIZE, SIZE),
        "transformer_options": {"cond_or_uncond": [0, 1]},
    }
    rows = gated(call)["img"].reshape(4, 8, 8, 3)
    for i, mask in enumerate((left(), 1 - left()) * 2):
        assert torch.equal(rows[i, ..., 0], mask[0, ::16, ::16])


def test_each_latent_of_a_batch_has_its_mask(comfy, setup, patched):
    masks = torch.cat([left(), 1 - left()])
    both = sample(setup, gate(comfy, patched, masks), batch=2)
    for i in range(2):
        alone = sample(setup, gate(comfy, patched, masks[i : i + 1]), batch=2)
        torch.testing.assert_close(both[i], alone[i], **CLOSE)


def test_masks_for_other_numbers_of_latents_are_named(comfy, setup, patched):
    three = gate(comfy, patched, torch.ones(3, 128, 128))
    with pytest.raises(ValueError, match="3 masks for 2 latents"):
        sample(setup, three, batch=2)
    two = gate(comfy, patched, torch.ones(2, 128, 128))
    with pytest.raises(ValueError, match="2 masks for 4 latents"):  # not a pair for each prompt
        sample(setup, two, batch=4)


def test_under_areas_the_mask_is_cropped_as_each_area_is(comfy, setup, patched):
    inside, outside = (1, 16, 8, 0, 0, 0), (1, 16, 8, 0, 0, 8)
    gated = gate(comfy, patched, left())

    def run(model, *areas):
        return sample(setup, model, cfg=1.0, areas=areas)

    torch.testing.assert_close(run(gated, inside), run(patched, inside), **CLOSE)
    torch.testing.assert_close(run(gated, outside), run(setup.model, outside), **CLOSE)
    both = run(gated, inside, outside)
    torch.testing.assert_close(both[..., :8], run(gated, inside)[..., :8], **CLOSE)
    torch.testing.assert_close(both[..., 8:], run(gated, outside)[..., 8:], **CLOSE)


@pytest.mark.parametrize(
    ("told", "side"),
    [({}, 2), ({"patch_size": 1}, 1), ({"patch_size": (1, 4, 4)}, 4), ({"patch_spatial": 16}, 16)],
)
def test_tokens_of_any_side_that_a_model_tells_are_gated_where_they_lie(comfy, told, side):
    mask = comfy.module("local_control.region_mask").RegionMask(left()[:, None])
    gated = comfy.module("nodes.sampler.control.gated_patch").AfterBlock.around(adding_one, mask)
    view = comfy.module("nodes.sampler.control.view")
    model = SimpleNamespace(diffusion_model=SimpleNamespace(**told))
    x = torch.zeros(1, 16, 1, 32, 64)
    options = view.note_areas(
        lambda model, conds, x, timestep, options: options, model, [], x, None, {}
    )["transformer_options"]
    rows, columns = 32 // side, 64 // side
    call = {"img": torch.zeros(1, rows * columns, 3), "x": x, "transformer_options": options}
    found = gated(call)["img"].reshape(rows, columns, 3)
    assert (found[:, : columns // 2] == 1).all()
    assert (found[:, columns // 2 :] == 0).all()


@pytest.mark.parametrize("white", range(4))
def test_in_context_windows_each_frame_has_its_own_mask(comfy, white):
    """Two windows of two frames, whose patches see frames by the window's numbers."""
    import controls

    video = wan()
    video.frames = 4
    patched = video.model.clone()
    patched.set_model_double_block_patch(lambda args: {**args, "img": args["img"] + 1})

    def run(model):
        model = windowed(model, 2, dim=2, overlap=0)
        return controls.sample(video, *controls.prompts(video), model=model, steps=1)

    expected, within = run(video.model), run(patched)
    if torch.equal(expected, within):
        pytest.skip("this ComfyUI's Wan has no patches after blocks")
    masks = torch.zeros(4, 128, 128)
    masks[white] = 1
    expected[:, :, white] = within[:, :, white]
    torch.testing.assert_close(run(gate(comfy, patched, masks)), expected, **CLOSE)


class Heavy:
    """A patch with a network, which works in place and returns all but the tokens."""

    def __deepcopy__(self, memo):
        raise AssertionError("a network was copied")

    def __call__(self, args):
        img = args.pop("img")
        img += 1
        return args


def test_networks_of_patches_are_not_copied(comfy, setup):
    model = setup.model.clone()
    model.set_model_patch(Heavy(), "noise_refiner")
    model.set_model_patch(adding_one, "other")
    gated = gate(comfy, model, left()).clone()
    patches = gated.model_options["transformer_options"]["patches"]
    assert patches["other"] == [adding_one]
    kept = model.model_options["transformer_options"]["patches"]["noise_refiner"]
    assert [type(patch) for patch in kept] == [Heavy]
    call = {"img": torch.zeros(1, 64, 3), "x": torch.zeros(1, 16, SIZE, SIZE)}
    rows = patches["noise_refiner"][0](call)["img"].reshape(8, 8, 3)
    assert rows[:, :4].min() == 1
    assert rows[:, 4:].max() == 0


def test_a_patch_keeps_its_mask_when_the_next_one_is_gated(comfy, setup):
    masks = {1: left(), 2: 1 - left()}
    model = setup.model
    for value, mask in masks.items():
        model = model.clone()
        model.set_model_double_block_patch(lambda args, value=value: {"img": args["img"] + value})
        model = gate(comfy, model, mask)
    img = torch.zeros(1, 64, 3)
    for patch in model.model_options["transformer_options"]["patches"]["double_block"]:
        img = patch({"img": img, "x": torch.zeros(1, 16, 1, SIZE, SIZE)})["img"]
    rows = img.reshape(8, 8, 3)
    assert (rows[:, :4] == 1).all()
    assert (rows[:, 4:] == 2).all()
    with pytest.raises(ValueError, match="have a mask already"):
        gate(comfy, model, left())


def test_a_model_without_patches_is_named(comfy):
    with pytest.raises(ValueError, match="no patch that acts as a control"):
        gate(comfy, build_model("sd15"), torch.ones(1, 128, 128))


def test_patches_that_no_mask_can_gate_are_named(comfy, setup, patched, caplog):
    other = setup.model.clone()
    other.set_model_post_input_patch(adding_one)
    with pytest.raises(ValueError, match="only of the kinds post_input"):
        gate(comfy, other, left())
    patched.set_model_post_input_patch(adding_one)
    gate(comfy, patched, left())
    assert "kinds post_input; they stay" in caplog.text


def execute(graph):
    """A graph through ComfyUI's own execution, in this process; raises what a node has raised."""
    import execution

    server = SimpleNamespace(client_id=None, last_node_id=None, send_sync=lambda *args: None)
    runner = execution.PromptExecutor(
        server, cache_args={"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
    )
    asyncio.run(runner.execute_async(graph, "test", {}, ["end"]))
    errors = [data for event, data in runner.status_messages if event == "execution_error"]
    assert not errors, errors


def test_it_runs_in_comfyuis_own_execution(comfy, setup, patched, monkeypatch):
    seen = []

    def node(returns, function, **inputs):
        body = {
            "INPUT_TYPES": classmethod(
                lambda cls: {"required": {k: (v,) for k, v in inputs.items()}}
            ),
            "RETURN_TYPES": returns,
            "FUNCTION": "run",
            "CATEGORY": "test",
            "OUTPUT_NODE": not returns,
            "run": lambda self, **given: function(**given),
        }
        return type("Node", (), body)

    latent = {"samples": torch.zeros(1, 16, 1, SIZE, SIZE)}
    sources = {
        "Patched": node(("MODEL",), lambda: (patched,)),
        "Left": node(("MASK",), lambda: (left(),)),
        "Positive": node(("CONDITIONING",), lambda: (setup.text(0),)),
        "Negative": node(("CONDITIONING",), lambda: (setup.text(1),)),
        "Latent": node(("LATENT",), lambda: (latent,)),
        "Keep": node((), lambda latent: seen.append(latent["samples"]) or {}, latent="LATENT"),
    }
    for name, kind in sources.items():
        monkeypatch.setitem(comfy.nodes, name, kind)
    graph = {name: {"class_type": name, "inputs": {}} for name in sources if name != "Keep"}
    graph["gate"] = {
        "class_type": "LocalControl_GatePatches",
        "inputs": {"model": ["Patched", 0], "mask": ["Left", 0]},
    }
    numbers = {"seed": 3, "steps": 3, "cfg": 2.0, "denoise": 1.0}
    names = {"sampler_name": "euler", "scheduler": "simple"}
    links = {
        "model": ["gate", 0],
        "positive": ["Positive", 0],
        "negative": ["Negative", 0],
        "latent_image": ["Latent", 0],
    }
    graph["sampler"] = {"class_type": "KSampler", "inputs": numbers | names | links}
    graph["end"] = {"class_type": "Keep", "inputs": {"latent": ["sampler", 0]}}
    execute(graph)
    expected = comfy.call(
        "KSampler",
        **numbers,
        **names,
        model=gate(comfy, patched, left()),
        positive=setup.text(0),
        negative=setup.text(1),
        latent_image=latent,
    )[0]["samples"]
    assert torch.equal(seen[0], expected)
