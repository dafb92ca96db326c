"""WebDataset shards: read at random, damaged ones named, odd members passed over."""

import io
import tarfile

import numpy as np
import pytest
from data_sets import keys, left_mask, noise_image, png, records, shard, usable

from training.data.records import Columns, DatasetError
from training.data.shard_files import LocalShard, local_shards
from training.data.shards import TarShards, only_shards


def test_shards_are_read_at_random(tmp_path):
    files = {}
    for i in range(3):
        files[f"{i:04d}.png"] = png(noise_image(i))
        files[f"{i:04d}.txt"] = f"number {i}".encode()
        files[f"{i:04d}.mask.png"] = png(left_mask())
    shard(tmp_path / "a.tar", files)
    found = records(TarShards(local_shards([tmp_path / "a.tar"]), Columns(mask="mask.png")))
    assert len(found) == 3
    for i in (2, 0, 1):
        sample = found[i].load()
        assert sample.caption == f"number {i}"
        assert np.array_equal(sample.image, np.asarray(noise_image(i)))
        assert sample.masks[0, :, :20].all()


def test_suffixes_in_shards_are_told_apart(tmp_path):
    files = {"0.jpg": png(left_mask()), "0.png": png(noise_image()), "0.words": b"nothing"}
    shard(tmp_path / "a.tar", files)
    named = Columns(image="png", mask="jpg", caption="words")
    for columns in (named, Columns(mask="jpg", caption="words")):
        sample = records(TarShards(local_shards([tmp_path / "a.tar"]), columns))[0].load()
        assert np.array_equal(sample.image, np.asarray(noise_image()))
        assert sample.caption == "nothing"
    with pytest.raises(DatasetError, match=r"NAME\.webp.*--image_column"):
        records(TarShards(local_shards([tmp_path / "a.tar"]), Columns(image="webp")))


@pytest.mark.parametrize("columns", [Columns(mask="msak"), Columns(condition="msak")])
def test_a_column_that_nothing_has_is_named(tmp_path, columns):
    shard(tmp_path / "a.tar", {"1.png": png(noise_image()), "1.mask.png": png(left_mask())})
    with pytest.raises(DatasetError, match=r"NAME\.msak, only \['mask.png', 'png'\]"):
        records(TarShards(local_shards([tmp_path / "a.tar"]), columns))


def test_a_sample_without_its_condition_is_named(tmp_path, caplog):
    files = {
        "1.png": png(noise_image()),
        "1.edges.png": png(noise_image()),
        "2.png": png(noise_image()),
    }
    shard(tmp_path / "a.tar", files)
    source = TarShards(local_shards([tmp_path / "a.tar"]), Columns(condition="edges.png"))
    assert len(usable(source, tmp_path)) == 1
    assert "a.tar/2 has no file NAME.edges.png" in caplog.text


@pytest.mark.parametrize("name", ["./{}.{}", "v1.0/{}.{}", "./v1.0/deep/{}.{}"])
def test_samples_of_a_shard_are_told_apart_whatever_their_folder(tmp_path, name):
    files = {name.format(i, "png"): png(noise_image(i)) for i in range(2)}
    files |= {name.format(i, "txt"): b"number %d" % i for i in range(2)}
    files[name.format("", "DS_Store")] = b"no sample"
    shard(tmp_path / "a.tar", files)
    found = records(TarShards(local_shards([tmp_path / "a.tar"]), Columns()))
    assert [record.words() for record in found] == ["number 0", "number 1"]
    assert not any("./" in record.key for record in found)


@pytest.mark.parametrize("kept", [100, 600, 3000, 4700, 5000])
def test_a_shard_that_was_cut_anywhere_is_named(tmp_path, kept):
    """Also in a header: behind the first one that looks like the end of the shard."""
    path = tmp_path / "a.tar"
    shard(path, {"1.png": png(noise_image()), "1.txt": b"words", "2.png": png(noise_image(1))})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DatasetError, match=r"a\.tar cannot be read .*whole tar file"):
        records(TarShards(local_shards([path]), Columns()))


def test_a_damaged_shard_is_named(tmp_path):
    path = tmp_path / "a.tar"
    shard(path, {"0.png": png(noise_image()), "1.png": png(noise_image(1))})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=r"a\.tar cannot be read"):
        records(TarShards(local_shards([path]), Columns()))
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(DatasetError, match="without compression"):
        records(TarShards(local_shards([path]), Columns()))


def test_links_and_names_that_come_again_are_counted_and_nothing_outside_is_read(tmp_path, caplog):
    noise_image(9).save(tmp_path / "private.png")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for kind, name in ((tarfile.SYMTYPE, "soft.png"), (tarfile.FIFOTYPE, "pipe.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "private.png")
            tar.addfile(info)
        for name in ("../up.png", "/etc/abs.png", "one.png", "one.png", "one.json"):
            info, content = tarfile.TarInfo(name), png(noise_image(1))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    found = usable(TarShards(local_shards([tmp_path / "a.tar"]), Columns()), tmp_path)
    images = [found[index].load().image for index in range(len(found))]
    assert len(images) == 3  # those with odd names are read where they are: in the shard
    assert all(np.array_equal(image, np.asarray(noise_image(1))) for image in images)
    assert "2 links, devices and sparse files" in caplog.text
    assert "1 files of a name that came before" in caplog.text
    assert "1 .json" in caplog.text


def header_with(size):
    """The header of a member whose size is written in base 256."""
    header = bytearray(tarfile.TarInfo("big.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("size", [2**40, 2**80])
def test_a_member_of_an_absurd_size_is_a_sentence(tmp_path, size):
    shard(tmp_path / "a.tar", {"0.png": png(noise_image())})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(header_with(size) + whole)
    with pytest.raises(DatasetError, match=r"cannot be read|None of the"):
        usable(TarShards(local_shards([tmp_path / "a.tar"]), Columns()), tmp_path)


@pytest.mark.parametrize("name", ["a.png", "train/cats/a.JPEG"])
def test_a_stray_shard_does_not_hide_a_folder_of_pictures(tmp_path, name):
    shard(tmp_path / "backup.tar", {})
    assert only_shards(tmp_path, tmp_path / "out") == [tmp_path / "backup.tar"]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise_image().save(path, "PNG")
    assert only_shards(tmp_path, tmp_path / "out") == []


@pytest.mark.parametrize("name", ["out/sheets/a.png", "._a.png"])
def test_pictures_that_are_no_samples_do_not_hide_shards(tmp_path, name):
    shard(tmp_path / "a.tar", {})
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    noise_image().save(path)
    assert only_shards(tmp_path, tmp_path / "out") == [tmp_path / "a.tar"]


@pytest.mark.parametrize("columns", [Columns(), Columns(mask="mask.png")])
def test_every_shard_is_read_through_once(tmp_path, monkeypatch, caplog, columns):
    for letter in "ab":
        files = {f"{letter}.png": png(noise_image()), f"{letter}.mask.png": png(left_mask())}
        shard(tmp_path / f"{letter}.tar", files | {f"{letter}.json": b""})
    opened, read = [], LocalShard.open
    monkeypatch.setattr(LocalShard, "open", lambda self: opened.append(self.name) or read(self))
    source = TarShards(local_shards(sorted(tmp_path.glob("*.tar"))), columns)
    assert len(usable(source, tmp_path)) == 2
    assert opened == ["a.tar", "b.tar"]
    assert "2 .json" in caplog.text


def test_a_column_that_only_a_later_shard_has_is_found(tmp_path):
    shard(tmp_path / "a.tar", {"a.png": png(noise_image())})
    shard(tmp_path / "b.tar", {"b.png": png(noise_image(1)), "b.mask.png": png(left_mask())})
    shards = local_shards([tmp_path / "a.tar", tmp_path / "b.tar"])
    found = records(TarShards(shards, Columns(mask="mask.png")))
    assert [record.masks is None for record in found] == [True, False]


def sparse_tar(path):
    """A shard whose second member is sparse as GNU tar writes one: a hole, told in its header."""
    content = png(noise_image())
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("whole.png")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    header = bytearray(tarfile.TarInfo("sparse.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"%011o\0" % 512  # bytes that are there
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"%011o\0%011o\0" % (1024, 512)  # where they belong
    header[483:495] = b"%011o\0" % 1536  # and how many there would be
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + content.ljust(512, b"\0")[:512] + path.read_bytes())


def test_a_sparse_member_is_passed_over_and_counted(tmp_path, caplog):
    sparse_tar(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [member.issparse() for member in tar] == [True, False]
    found = usable(TarShards(local_shards([tmp_path / "a.tar"]), Columns()), tmp_path)
    assert keys(found) == ["a.tar/whole"]
    assert "1 links, devices and sparse files" in caplog.text
