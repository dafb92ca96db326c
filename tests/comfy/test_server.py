"""The nodes through a real server: the example workflow, stock nodes, and bad input."""

import copy
import io
import json
from pathlib import Path

import pytest
from demo_server import make_workspace
from PIL import Image

from demo.example_files import DEMO_EXAMPLES, SEVERAL_REGIONS, WATCH
from demo.templates.blueprints import BLUEPRINTS, CONTROL_A_REGION
from testbed.server import ComfyServer, PromptError
from testbed.workflow import EXAMPLES, find, to_prompt, viewer_of

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted([*EXAMPLES.glob("*.json"), *DEMO_EXAMPLES.glob("*.json")])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ComfyServer(make_workspace(tmp_path_factory.mktemp("server"))) as running:
        yield running


@pytest.fixture(scope="module")
def prompt(server):
    found = to_prompt(json.loads(WATCH.read_text()), server.object_info())
    found[find(found, "KSampler")]["inputs"]["steps"] = 3
    return found


def pictures(server, outputs, node):
    return [Image.open(io.BytesIO(server.image(entry))) for entry in outputs[node]["images"]]


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("name", ["nodeDefs", "main"])
def test_the_server_gives_our_words_to_the_interface(server, language, name):
    words = json.loads((ROOT / "locales" / language / f"{name}.json").read_text(encoding="utf-8"))
    given = server.get("/i18n").json()[language]
    given = given["nodeDefs"] if name == "nodeDefs" else given
    assert {key: given[key] for key in words} == words


def test_the_node_library_has_our_blueprint(server):
    listed = server.get("/global_subgraphs").json()
    ours = {
        key: entry
        for key, entry in listed.items()
        if entry["info"]["node_pack"] == "custom_nodes.local_control"
    }
    assert [entry["name"] for entry in ours.values()] == [CONTROL_A_REGION]
    given = json.loads(server.get(f"/global_subgraphs/{next(iter(ours))}").json()["data"])
    assert given == json.loads((BLUEPRINTS / f"{CONTROL_A_REGION}.json").read_text())


def edit(prompt, class_type, **inputs):
    changed = copy.deepcopy(prompt)
    changed[find(changed, class_type)]["inputs"] |= inputs
    return changed


def test_the_example_workflow_gives_a_picture_and_its_z0_frames(server, prompt):
    steps = []
    outputs = server.run(prompt, lambda node, step, total: steps.append((node, step, total)))
    assert [p.size for p in pictures(server, outputs, find(prompt, "SaveImage"))] == [(128, 128)]
    frames = viewer_of(prompt, [find(prompt, "LocalControl_Z0Frames"), 0])
    assert len(pictures(server, outputs, frames)) == 3
    preview = find(prompt, "LocalControl_Z0Preview")
    assert [(step, total) for node, step, total in steps if node == preview] == [
        (1, 3),
        (2, 3),
        (3, 3),
        (3, 3),  # once more, with the last picture
    ]


@pytest.mark.parametrize("size", [(128, 128), (192, 128)])
def test_the_example_of_several_regions_shows_each_regions_score(server, size):
    """Whatever the size of its pictures, which are 128 x 128 here."""
    graph = to_prompt(json.loads(SEVERAL_REGIONS.read_text()), server.object_info())
    graph[find(graph, "KSampler")]["inputs"]["steps"] = 2
    graph[find(graph, "EmptyLatentImage")]["inputs"] |= {"width": size[0], "height": size[1]}
    outputs = server.run(graph)
    for kind, count in {"SaveImage": 1, "LocalControl_PreviewRegions": 1}.items():
        assert len(pictures(server, outputs, find(graph, kind))) == count
    scores = [key for key, node in graph.items() if node["class_type"] == "LocalControl_Score"]
    for key in scores:
        (card,) = pictures(server, outputs, key)
        scale = card.width // size[0]
        assert card.width == scale * size[0]
        assert card.height > scale * size[1]  # words and a legend below the picture


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_example_fits_the_nodes(server, path):
    workflow = json.loads(path.read_text())
    info = server.object_info()
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for _, source, output, target, slot, kind in workflow["links"]:
        assert info[nodes[source]["type"]]["output"][output] == kind
        name = nodes[target]["inputs"][slot]["name"]
        schema = info[nodes[target]["type"]]["input"]
        assert {**schema["required"], **schema.get("optional", {})}[name][0] == kind
    for node in to_prompt(workflow, info).values():
        required = info[node["class_type"]]["input"]["required"]
        assert required.keys() <= node["inputs"].keys()


def test_every_example_passes_the_linter_of_prompts(server, tmp_path):
    """Files that an example names need not lie here."""
    cli = pytest.importorskip("comfy_lint.cli")
    info = server.object_info()
    paths = []
    for path in WORKFLOWS:
        prompt = to_prompt(json.loads(path.read_text()), info)
        for node in prompt.values():
            for name, value in node["inputs"].items():
                if isinstance(value, str) and value.endswith((".safetensors", ".png")):
                    info[node["class_type"]]["input"]["required"][name][0] = "STRING"
        paths.append(tmp_path / path.name)
        paths[-1].write_text(json.dumps(prompt))
    known = tmp_path / "object_info.json"
    known.write_text(json.dumps(info))
    assert not cli.main([*map(str, ("--strict", "--schema-cache", known, *paths))])


def test_every_other_node_runs_in_one_graph(server, prompt):
    """Preview, guidance, curve and score beside the example's own nodes."""
    graph = copy.deepcopy(prompt)
    image, checkpoint = find(graph, "LoadImage"), find(graph, "CheckpointLoaderSimple")
    mask = find(graph, "LoadImageMask")
    region, sampler = find(graph, "LocalControl_Region"), find(graph, "KSampler")
    frames = find(graph, "LocalControl_Z0Frames")

    def add(name, class_type, **inputs):
        graph[name] = {"class_type": class_type, "inputs": inputs}

    add("regions", "LocalControl_PreviewRegions", regions=[region, 0], width=128, height=128)
    add("encoded", "VAEEncode", pixels=[image, 0], vae=[checkpoint, 2])
    add(
        "guided",
        "LocalControl_EdgeGuidance",
        model=graph[sampler]["inputs"]["model"],
        reference=["encoded", 0],
        mask=[mask, 0],
        scale=1.0,
        start_percent=0.0,
        end_percent=0.8,
        edge="sobel",
    )
    graph[sampler]["inputs"]["model"] = ["guided", 0]
    graph[frames]["inputs"] |= {"regions": [region, 0], "reference": ["encoded", 0]}
    decoded = find(graph, "VAEDecode")
    add(
        "score",
        "LocalControl_Score",
        image=[decoded, 0],
        condition=[find(graph, "LocalControl_Condition"), 0],
        mask=[mask, 0],
        kind="edges",
        tolerance=2,
        low_threshold=100,
        high_threshold=200,
        blur=0.0,
        blocks=8,
        uncontrolled=[decoded, 0],
    )
    shown = {"grids": ["regions", 0], "curve": [frames, 2], "report": ["score", 5]}
    for name, link in shown.items():
        add(name, "PreviewImage", images=link)
    outputs = server.run(graph)
    assert len(pictures(server, outputs, "grids")) == 5
    assert pictures(server, outputs, "curve")[0].size == (512, 320)
    assert pictures(server, outputs, "report")[0].size == (128, 128)


def test_previews_that_are_alike_show_and_keep_their_own(server, prompt):
    """Two samplers, each with a preview of the same settings."""
    graph = copy.deepcopy(prompt)
    sampler, preview = find(graph, "KSampler"), find(graph, "LocalControl_Z0Preview")
    frames = find(graph, "LocalControl_Z0Frames")
    graph["other preview"] = copy.deepcopy(graph[preview])
    graph["other sampler"] = copy.deepcopy(graph[sampler])
    graph["other sampler"]["inputs"] |= {"model": ["other preview", 0], "seed": 5}
    graph["other frames"] = copy.deepcopy(graph[frames])
    links = {"z0_trace": ["other preview", 1], "latent": ["other sampler", 0]}
    graph["other frames"]["inputs"] |= links
    graph["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["other frames", 0]}}
    steps = []
    outputs = server.run(graph, lambda node, step, total: steps.append(node))
    assert len(pictures(server, outputs, "shown")) == 3
    assert steps.count(preview) == steps.count("other preview") == 4


def test_stock_nodes_load_and_apply_what_we_write(server, prompt):
    stock = copy.deepcopy(prompt)
    apply = stock[find(stock, "LocalControl_Apply")]
    region = stock.pop(find(stock, "LocalControl_Region"))
    stock[find(stock, "LocalControl_Z0Preview")]["inputs"].pop("regions")
    loader = stock[find(stock, "LocalControl_LoadAdapter")]
    loader["class_type"] = "ControlNetLoader"
    loader["inputs"] = {"control_net_name": "local_canny_demo.safetensors"}
    apply["class_type"] = "ControlNetApplyAdvanced"
    apply["inputs"] = {
        "positive": apply["inputs"]["positive"],
        "negative": apply["inputs"]["negative"],
        "control_net": region["inputs"]["control_net"],
        "image": region["inputs"]["image"],
        "strength": 1.0,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    by_stock = pictures(server, server.run(stock), find(stock, "SaveImage"))[0]

    ours = copy.deepcopy(stock)
    loader = ours[find(ours, "ControlNetLoader")]
    loader["class_type"] = "LocalControl_LoadAdapter"
    loader["inputs"] = {"adapter_name": "local_canny_demo.safetensors"}
    by_ours = pictures(server, server.run(ours), find(ours, "SaveImage"))[0]
    assert by_stock.tobytes() == by_ours.tobytes()


def bypassed(prompt, class_type):
    """The prompt that the frontend sends when a node is bypassed, of whose outputs none goes on."""
    changed = copy.deepcopy(prompt)
    node = find(changed, class_type)
    for other in changed.values():
        for name, value in list(other["inputs"].items()):
            if isinstance(value, list) and value[0] == node:
                del other["inputs"][name]
    del changed[node]
    return changed


def test_bypassing_preview_z0_gives_the_picture_without_it(server, prompt):
    save, frames = find(prompt, "SaveImage"), [find(prompt, "LocalControl_Z0Frames"), 0]
    watched = pictures(server, server.run(prompt), save)
    plain = bypassed(prompt, "LocalControl_Z0Preview")
    model = prompt[find(prompt, "LocalControl_Z0Preview")]["inputs"]["model"]
    plain[find(plain, "KSampler")]["inputs"]["model"] = model
    outputs = server.run(plain)
    assert pictures(server, outputs, save)[0].tobytes() == watched[0].tobytes()
    words = pictures(server, outputs, viewer_of(prompt, frames))
    assert [picture.size for picture in words] == [(512, 320)]


def test_bypassing_the_only_region_gives_the_picture_without_control(server, prompt):
    outputs = server.run(bypassed(prompt, "LocalControl_Region"))
    free = copy.deepcopy(prompt)
    apply = free[find(free, "LocalControl_Apply")]["inputs"]
    free[find(free, "KSampler")]["inputs"] |= {k: apply[k] for k in ("positive", "negative")}
    save = find(prompt, "SaveImage")
    found, expected = (pictures(server, o, save)[0] for o in (outputs, server.run(free)))
    assert found.tobytes() == expected.tobytes()


def white_mask(prompt, width, height, value=1.0, batch=1):
    """The region's mask from a SolidMask, repeated."""
    changed = copy.deepcopy(prompt)
    changed["solid"] = {
        "class_type": "SolidMask",
        "inputs": {"value": value, "width": width, "height": height},
    }
    mask = ["solid", 0]
    if batch > 1:
        changed["image"] = {"class_type": "MaskToImage", "inputs": {"mask": mask}}
        changed["repeat"] = {
            "class_type": "RepeatImageBatch",
            "inputs": {"image": ["image", 0], "amount": batch},
        }
        changed["mask"] = {
            "class_type": "ImageToMask",
            "inputs": {"image": ["repeat", 0], "channel": "red"},
        }
        mask = ["mask", 0]
    changed[find(changed, "LocalControl_Region")]["inputs"]["mask"] = mask
    return changed


BAD = {
    "a text file": (
        lambda p: edit(p, "LocalControl_LoadAdapter", adapter_name="text.safetensors"),
        "text.safetensors cannot be read as safetensors",
    ),
    "a truncated file": (
        lambda p: edit(p, "LocalControl_LoadAdapter", adapter_name="cut.safetensors"),
        "cut.safetensors cannot be read as safetensors",
    ),
    "missing keys": (
        lambda p: edit(p, "LocalControl_LoadAdapter", adapter_name="incomplete.safetensors"),
        "incomplete.safetensors lacks 1 of",
    ),
    "another family": (
        lambda p: edit(p, "LocalControl_LoadAdapter", adapter_name="sdxl.safetensors"),
        "sdxl.safetensors of region 1 is for SDXL, but the model is LocalControlDemo",
    ),
    "another size": (
        lambda p: white_mask(p, 64, 96),
        "The mask is 64 x 96, but the condition image is 128 x 128",
    ),
    "an all-black mask": (
        lambda p: white_mask(p, 128, 128, value=0.0),
        "The mask of this region is all black",
    ),
    "three masks for two latents": (
        lambda p: edit(white_mask(p, 128, 128, batch=3), "EmptyLatentImage", batch_size=2),
        "There are 3 masks for 2 latents",
    ),
    "a range with nothing in it": (
        lambda p: edit(p, "LocalControl_Region", start_percent=0.8, end_percent=0.2),
        "The start_percent of region 1 is 0.8 and its end_percent 0.2",
    ),
    "level weights that are no numbers": (
        lambda p: edit(p, "LocalControl_Region", level_weights="high"),
        "level_weights is 'high'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_one_sentence_and_the_server_goes_on(server, prompt, name):
    change, sentence = BAD[name]
    with pytest.raises(PromptError) as error:
        server.run(change(prompt))
    message = str(error.value)
    assert sentence in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert server.run(prompt)


def test_the_pack_tells_what_an_adapter_is(server, prompt):
    told = copy.deepcopy(prompt)
    loader = find(told, "LocalControl_LoadAdapter")
    told["told"] = {"class_type": "PreviewAny", "inputs": {"source": [loader, 1]}}
    text = server.run(told)["told"]["text"][0]
    assert "full T2I-Adapter for width 64" in text
    assert "condition: canny 100 200" in text
