"""Small data sets of every kind, and what is read of them."""

import io
import json
import struct
import tarfile
import zlib

import numpy as np
from PIL import Image

from training.data.checked import check
from training.data.folder import ImageFolder
from training.data.records import Columns

SIZE = (40, 32)  # width, height
USUAL = Columns()


def noise_image(seed=0, size=SIZE):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def left_mask(size=SIZE):
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    return mask


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def blank_png(width, height):
    """The bytes of a PNG of one bit a pixel, of any size."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer, row = zlib.compressobj(9), b"\0" * (1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def shard(path, files):
    """A tar file of named contents."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def saved(folder, table, **kinds):
    """A data set that `datasets` has saved; columns that are not named hold strings."""
    import datasets

    features = {name: kinds.get(name, datasets.Value("string")) for name in table}
    found = datasets.Dataset.from_dict(table, features=datasets.Features(features))
    found.save_to_disk(folder)
    return str(folder)


def listed(folder, *rows, columns=USUAL):
    """A folder whose metadata.jsonl has these rows."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return ImageFolder(folder, columns)


def records(source):
    return [source.record(row) for row in source.rows()]


def usable(source, folder, min_side=16):
    """The samples of a source that can be used; what is kept of the check lies beside `folder`."""
    return check(source, min_side, None, folder.with_name(folder.name + "-kept"))


def keys(checked):
    return [checked[index].key for index in range(len(checked))]
