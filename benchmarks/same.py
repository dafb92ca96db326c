"""Whether the working tree still makes what an earlier revision made, byte for byte.

python -m benchmarks.same 3dbf5d0

The commands of small training runs, an export, an evaluation and the demo's graphs are run in a
copy of the revision, once, and here, on the same inputs. Files are compared as bytes, but pictures
by their pixels, since ComfyUI writes times beside them, and safetensors by tensors and metadata,
since older headers have no fixed order.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image
from pydantic import Field
from pydantic_settings import CliPositionalArg
from safetensors import safe_open

from demo.base import ADAPTERS, load_pipeline
from testbed.comfyui import BUILD, ROOT, comfyui_path
from training.config.commands import CommandSettings, read_settings
from training.evaluation.cases import EVALUATION_SET

from .revisions import extract

log = logging.getLogger(__name__)

_FOLDER = BUILD / "same"
_PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "motorcycle_left", "motorcycle_right")
_COMPARED = (".png", ".json", ".md", ".toml", ".safetensors")
_COMMON = (
    *("--config", "demo", "--max_train_steps", "3", "--lr_warmup_steps", "1"),
    *("--train_batch_size", "2", "--checkpointing_steps", "2", "--validation_steps", "3"),
    *("--num_validation_images", "1", "--num_inference_steps", "3", "--validation_share", "0.2"),
    *("--report_to", "none", "--mask_column", "masks", "--checkpoints_total_limit", "1"),
)
_RUNS: dict[str, tuple[str, ...]] = {
    "local": (),
    "colour": (
        *("--condition", "colour", "--edge", "none", "--use_ema", "--random_flip"),
        *("--aspect_ratio_buckets", "--crop_variants", "2", "--gradient_accumulation_steps", "2"),
        *("--masked_condition_share", "0.5", "--lr_scheduler", "constant"),
    ),
    "plain": (
        *("--no-mask_features", "--z0_loss_weight", "0", "--snr_gamma", "1", "--mask_source"),
        *("dataset", "--invert_masks", "--gradient_checkpointing", "--center_crop"),
        *("--timestep_sampling", "cubic", "--masked_noise_loss", "--adapter_type", "light"),
    ),
}


class SameSettings(CommandSettings):
    """Settings of the comparison; every one is a command-line flag."""

    revision: CliPositionalArg[str] = Field(description="what git calls the earlier revision")
    graphs: bool = Field(True, description="run the demo's graphs too, which takes minutes")


def write_inputs(folder: Path) -> None:
    """Write the demo base as a diffusers folder, and photographs with captions and masks."""
    load_pipeline().save_pretrained(folder / "base")
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    rows = []
    for index, name in enumerate(_PHOTOGRAPHS):
        path = next(Path(skimage.data.__file__).parent.glob(f"{name}.*"))
        image = Image.open(path).convert("RGB").resize((192, 160 if index % 2 else 192))
        mask = np.zeros(image.size[::-1], np.uint8)
        mask[20 : 90 + 5 * index, 30:120] = 255
        image.save(pictures / f"{name}.png")
        Image.fromarray(mask).save(pictures / f"{name}.mask.png")
        row = {"file_name": f"{name}.png", "text": f"a {name}", "masks": [f"{name}.mask.png"]}
        rows.append(json.dumps(row))
    (pictures / "metadata.jsonl").write_text("\n".join(rows))
    shutil.copy(EVALUATION_SET, folder)


def commands(inputs: Path, out: Path, graphs: bool) -> Iterator[list[str]]:
    """Yield every command line after `python -m`; `out` is where it writes, seen from its tree."""
    base = ("--pretrained_model_name_or_path", str(inputs / "base"))
    for name, flags in _RUNS.items():
        places = ("--train_data_dir", str(inputs / "pictures"), "--output_dir", str(out / name))
        yield ["training.train", *base, *places, *_COMMON, *flags]
    trained = out / "local" / "adapter.safetensors"
    yield ["training.export", "--adapter", str(trained), "--to", str(out / "exported")]
    adapters = f"mine={trained},plain={ADAPTERS['plain']}@everywhere"
    data = ("--eval_data_dir", str(inputs / "pictures"), "--mask_column", "masks")
    size = ("--max_pictures", "3", "--num_inference_steps", "2", "--resolution", "128")
    where = ("--evaluation_set", str(inputs / EVALUATION_SET.name))
    where += ("--output_dir", str(out / "evaluation"))
    yield ["training.evaluate", *base, "--adapters", adapters, *data, *size, *where]
    if graphs:
        yield ["demo", "--output", str(out / "demo.png")]


def run_all(tree: Path, inputs: Path, graphs: bool) -> dict[str, str]:
    """Return a digest of every file that the commands write in a tree, by its name."""
    out = Path("build") / "same" / "out"
    shutil.rmtree(tree / out, ignore_errors=True)
    shutil.rmtree(tree / "build" / "workspace" / "output", ignore_errors=True)
    (tree / out).mkdir(parents=True)
    environment = os.environ | {"COMFYUI_PATH": str(comfyui_path()), "PYTHONHASHSEED": "0"}
    with (tree / out / "log.txt").open("w") as told:
        for command in commands(inputs, out, graphs):
            log.info("%s: %s", tree.name, command[0])
            line = [sys.executable, "-m", *command]
            if subprocess.run(line, cwd=tree, env=environment, stdout=told, stderr=told).returncode:
                raise SystemExit(f"{command[0]} failed in {tree}; see {told.name}.")
    folders = [tree / out, tree / "build" / "workspace" / "output"]
    return {
        str(path.relative_to(tree)): content_digest(path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in _COMPARED and "cache" not in path.parts
    }


def content_digest(path: Path) -> str:
    """Return a digest of a file's bytes, a picture's pixels, or tensors with their metadata."""
    hasher = hashlib.sha256()
    if path.suffix == ".png":
        pixels = np.asarray(Image.open(path))
        return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
    if path.suffix != ".safetensors":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with safe_open(path, framework="np") as file:
        metadata = {key: _parsed(value) for key, value in (file.metadata() or {}).items()}
        hasher.update(json.dumps(metadata, sort_keys=True).encode())
        for key in sorted(file.keys()):
            value = file.get_tensor(key)
            hasher.update(f"{key} {value.shape} {value.dtype}".encode() + value.tobytes())
    return hasher.hexdigest()


def _parsed(value: str) -> Any:
    """Metadata that is JSON has no fixed order either."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def main() -> None:
    """Run everything twice and name what differs; the exit status tells."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = read_settings(SameSettings)
    inputs = _FOLDER / "inputs"
    if not (inputs / "pictures" / "metadata.jsonl").is_file():
        shutil.rmtree(inputs, ignore_errors=True)
        write_inputs(inputs)
    tree = extract(settings.revision)
    kept = tree.with_suffix(".json" if settings.graphs else ".runs.json")
    if not kept.is_file():
        kept.write_text(json.dumps(run_all(tree, inputs, settings.graphs), indent=1))
    before = json.loads(kept.read_text())
    now = run_all(ROOT, inputs, settings.graphs)
    names = sorted(before.keys() | now.keys())
    differing = [name for name in names if before.get(name) != now.get(name)]
    for name in differing:
        log.info("differs: %s", name)
    log.info("%d of %d files are equal", len(names) - len(differing), len(names))
    raise SystemExit(bool(differing))


if __name__ == "__main__":
    main()
