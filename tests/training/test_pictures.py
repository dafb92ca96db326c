"""Pictures and masks of every make: as they were meant, or named."""

import io
import threading

import cv2
import numpy as np
import pytest
from data_sets import blank_png, left_mask, listed, noise_image, png, records, usable
from PIL import Image, ImageFile

from training.data.digests import digest
from training.data.folder import ImageFolder
from training.data.mask_pictures import to_mask
from training.data.pictures import MAX_PIXELS, to_rgb
from training.data.records import Columns
from training.data.room import Room


def test_pictures_are_turned_upright_and_transparency_is_white():
    image = noise_image()
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    assert to_rgb(Image.open(buffer)).shape == (40, 32, 3)
    assert to_rgb(Image.new("RGBA", (4, 4), (0, 0, 0, 0))).min() == 255


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_key_colour_is_transparent_and_so_white(mode):
    image = Image.new("RGB", (8, 8), (0, 0, 0))
    image.paste((255, 0, 0), (0, 0, 4, 8))
    image = image.convert(mode)
    key = image.getpixel((7, 7))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=key)
    found = to_rgb(Image.open(buffer))
    assert (found[:, 4:] == 255).all()
    assert np.array_equal(found[:, :4], np.asarray(image.convert("RGB"))[:, :4])


def lines_on(ground, mode):
    """White lines in a mode, transparent where there are none, as a PNG."""
    image = Image.new("RGBA", noise_image().size, ground)
    image.paste("white", (4, 4, 30, 6))
    if mode in ("RGBA", "LA"):
        return png(image.convert(mode))
    buffer = io.BytesIO()
    image = image.convert("RGB").convert(mode)
    image.save(buffer, "PNG", transparency=image.getpixel((0, 0)))
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "P"])
@pytest.mark.parametrize("ground", [(0, 0, 0, 0), (90, 90, 90, 0)])
def test_a_condition_on_transparency_is_what_comfyui_loads(tmp_path, mode, ground):
    noise_image().save(tmp_path / "a.png")
    data = lines_on(ground, mode)
    (tmp_path / "c.png").write_bytes(data)
    row = {"file_name": "a.png", "text": "", "c": "c.png"}
    sample = records(listed(tmp_path, row, columns=Columns(condition="c")))[0].load()
    loaded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))  # LoadImage in its nodes.py
    assert np.array_equal(sample.condition, loaded)
    assert sample.condition.min() < sample.condition.max()
    assert sample.digests.condition != digest(data)  # its name when it lay on white


def test_an_opaque_condition_keeps_its_name(tmp_path):
    noise_image().save(tmp_path / "a.png")
    row = {"file_name": "a.png", "text": "", "c": "a.png"}
    sample = records(listed(tmp_path, row, columns=Columns(condition="c")))[0].load()
    assert sample.digests.condition == digest((tmp_path / "a.png").read_bytes())


def test_sixteen_bits_are_scaled_and_values_without_a_white_refused(tmp_path):
    ramp = np.linspace(0, 65535, 40 * 32, dtype=np.uint16).reshape(32, 40)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    wanted = (ramp // 257).astype(np.uint8)
    assert np.array_equal(to_rgb(Image.open(tmp_path / "a.png"))[..., 0], wanted)
    assert np.array_equal(to_mask(Image.open(tmp_path / "a.png")), wanted)
    for values in (ramp.astype(np.int32), ramp.astype(np.float32)):
        Image.fromarray(values).save(tmp_path / "a.tiff")
        for read in (to_rgb, to_mask):
            with pytest.raises(ValueError, match="8 or 16 bits a channel"):
                read(Image.open(tmp_path / "a.tiff"))


def in_alpha(colour):
    image = Image.new("RGBA", left_mask().size, colour)
    image.putalpha(left_mask())
    return image


@pytest.mark.parametrize(
    "mask",
    [
        left_mask(),
        left_mask().point(lambda value: value // 255),
        left_mask().convert("1"),
        left_mask().convert("RGB"),
        in_alpha("white"),
        in_alpha("black"),
        Image.merge("LA", (Image.new("L", left_mask().size), left_mask())),
        Image.fromarray(np.asarray(left_mask(), np.uint16) * 257),
        Image.fromarray(np.asarray(left_mask(), np.uint16) // 255),
    ],
)
def test_masks_mean_the_same_however_they_were_drawn(mask):
    assert np.array_equal(to_mask(Image.open(io.BytesIO(png(mask)))), np.asarray(left_mask()))


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (left_mask().point(lambda value: value // 4), "nowhere brighter than 63 of 255"),
        (Image.fromarray(np.asarray(left_mask(), np.uint16)), "than 255 of 65535"),
        (Image.merge("RGB", (left_mask(), *[Image.new("L", left_mask().size)] * 2)), "than 76 of"),
    ],
)
def test_masks_that_do_not_mark_with_white_are_refused(mask, told):
    with pytest.raises(ValueError, match=told):
        to_mask(Image.open(io.BytesIO(png(mask))))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_sixteen_bits_are_a_mask_unless_they_are_too_dark_to_be_told(suffix, channels):
    """Pillow reads their higher 8 bits."""
    left = np.asarray(left_mask(), np.uint16)[..., None] // 255

    def written(white):
        values = np.concatenate([left * white] * 3 + [np.full_like(left, 65535)], 2)
        _, data = cv2.imencode(suffix, values[..., :channels])
        return Image.open(io.BytesIO(data.tobytes()))

    assert np.array_equal(to_mask(written(65535)), np.asarray(left_mask()))
    for white in (0, 1, 255):
        with pytest.raises(ValueError, match="brighter than 255 of 65535; save it in gray"):
            to_mask(written(white))


def test_classes_are_no_mask():
    classes = left_mask().point(lambda value: value // 255).convert("P")
    classes.putpalette([0, 0, 0, 128, 0, 0])  # as PASCAL VOC draws its classes
    with pytest.raises(ValueError, match="nowhere brighter than 38 of 255"):
        to_mask(classes)


def test_masks_that_are_black_everywhere_are_known(tmp_path):
    noise_image().save(tmp_path / "a.png")
    Image.new("L", left_mask().size).save(tmp_path / "black.png")
    Image.new("RGBA", left_mask().size, "black").save(tmp_path / "opaque.png")
    left_mask().save(tmp_path / "left.png")
    rows = [
        {"file_name": "a.png", "text": "", "m": names}
        for names in (["black.png"], ["opaque.png", "left.png"], ["left.png"])
    ]
    found = usable(listed(tmp_path, *rows, columns=Columns(mask="m")), tmp_path)
    assert [(found.entry(i).masks, found.entry(i).black) for i in range(3)] == [
        (1, 1),
        (2, 1),
        (1, 0),
    ]


def test_size_is_looked_at_before_anything_is_decoded(tmp_path, caplog, monkeypatch):
    noise_image().save(tmp_path / "a.png")
    side = int(MAX_PIXELS**0.5) + 1
    (tmp_path / "bomb.png").write_bytes(blank_png(side, side))
    (tmp_path / "larger.png").write_bytes(blank_png(20_000, 20_000))
    loaded, load = [], ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: loaded.append(self.size) or load(self)
    )
    with pytest.warns(Image.DecompressionBombWarning):
        usable(ImageFolder(tmp_path, Columns()), tmp_path, min_side=0)
    assert f"skipped bomb.png: it is {side} x {side}, more than 89 megapixels" in caplog.text
    assert "skipped larger.png: " in caplog.text
    assert set(loaded) == {(40, 32)}


@pytest.mark.parametrize("part", ["condition", "mask"])
def test_a_bomb_beside_a_small_picture_is_named_and_never_decoded(
    tmp_path, caplog, monkeypatch, part
):
    for name in ("a", "b"):
        noise_image().save(tmp_path / f"{name}.png")
    (tmp_path / "bomb.png").write_bytes(blank_png(6000, 6000))
    rows = [{"file_name": f"{name}.png", "text": "", "c": f"{name}.png"} for name in ("a", "b")]
    rows[1]["c"] = "bomb.png"
    left_mask().save(tmp_path / "m.png")
    if part == "mask":
        rows[0]["c"] = "m.png"
    loaded, load = [], ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda self: loaded.append(self.size) or load(self)
    )
    source = listed(tmp_path, *rows, columns=Columns(**{part: "c"}))
    assert len(usable(source, tmp_path)) == 1
    assert f"the {part} is 6000 x 6000, the picture 40 x 32" in caplog.text
    assert set(loaded) == {(40, 32)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_condition_and_a_mask_that_exif_turns_fit_as_they_are_seen(tmp_path, caplog, kind):
    for name, made in (("picture", noise_image()), ("mask", left_mask())):
        exif = made.getexif()
        exif[0x0112] = 6
        made.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"{name}.x", kind, exif=exif)
        made.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"{name}-flat.x", kind)
    noise_image().save(tmp_path / "a.png")
    row = {"file_name": "a.png", "text": "", "c": "picture.x", "m": "mask.x"}
    rows = [row, row | {"c": "picture-flat.x"}, row | {"m": "mask-flat.x"}]
    source = listed(tmp_path, *rows, columns=Columns(condition="c", mask="m"))
    assert len(usable(source, tmp_path)) == 1
    assert "the condition is 32 x 40, the picture 40 x 32" in caplog.text
    assert "the mask is 32 x 40, the picture 40 x 32" in caplog.text


def test_a_record_tells_the_bytes_of_its_files_too(tmp_path):
    noise_image().save(tmp_path / "a.png")
    for name in ("a", "b"):
        (tmp_path / f"{name}.bmp").write_bytes(b"")
    rows = [{"file_name": "a.png", "text": "", "c": "a.bmp", "m": ["b.bmp"]}]
    (record,) = records(listed(tmp_path, *rows, columns=Columns(condition="c", mask="m")))
    before = record.footprint()
    for grown, name in enumerate(("a.bmp", "b.bmp", "a.png"), 1):
        with (tmp_path / name).open("ab") as file:
            file.write(bytes(10**6))
        assert record.footprint() == before + grown * 10**6


def test_a_record_tells_what_it_takes_before_it_is_loaded(tmp_path):
    noise_image().save(tmp_path / "a.png")
    (tmp_path / "big.png").write_bytes(blank_png(4000, 3000))
    small, big = (record.footprint() for record in records(ImageFolder(tmp_path, Columns())))
    assert small >= 40 * 32 * 3
    assert big >= 4000 * 3000 * 3


def test_threads_wait_for_room():
    room, most, now = Room(10), [0], [0]
    lock = threading.Lock()

    def work(amount):
        for _ in range(50):
            with room.take(amount):
                with lock:
                    now[0] += min(amount, 10)
                    most[0] = max(most[0], now[0])
                with lock:
                    now[0] -= min(amount, 10)

    threads = [threading.Thread(target=work, args=(amount,)) for amount in (1, 3, 7, 10, 99)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < most[0] <= 10
