"""Shards in stores that fsspec reads: streamed into the cache, named when they are silent."""

import fsspec
import numpy as np
import pytest
from data_sets import left_mask, noise_image, png, records, shard, usable
from prepared import entries, prepare
from small_runs import train_to_bytes

from training.config.run import TrainSettings
from training.data.records import Columns, DatasetError
from training.data.shard_files import UnreachableError, local_shards, remote_shards
from training.data.shards import TarShards

COLUMNS = Columns(mask="mask.png")


@pytest.fixture
def shards(tmp_path):
    """A folder of two shards of three samples each."""
    for letter in "ab":
        files = {}
        for i in range(3):
            files[f"{letter}{i}.png"] = png(noise_image(i + 3 * (letter == "b")))
            files[f"{letter}{i}.txt"] = f"number {letter}{i}".encode()
            files[f"{letter}{i}.mask.png"] = png(left_mask())
        shard(tmp_path / f"{letter}.tar", files)
    return tmp_path


@pytest.fixture(params=["memory", "file"])
def url(request, shards):
    """The same in a store, by an address with a pattern."""
    if request.param == "file":
        return f"file://{shards}/*.tar"
    store = fsspec.filesystem("memory")
    store.rm("/", recursive=True)
    for path in shards.glob("*.tar"):
        store.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    return "memory://bucket/*.tar"


def test_a_store_gives_the_same_samples_as_a_folder(shards, url):
    here = records(TarShards(local_shards(sorted(shards.glob("*.tar"))), COLUMNS))
    there = records(TarShards(remote_shards(url), COLUMNS))
    assert len(here) == len(there) == 6
    for one, other in zip(here, there, strict=True):
        first, second = one.load(), other.load()
        assert (first.key, first.caption, first.digests) == (
            second.key,
            second.caption,
            second.digests,
        )
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.masks, second.masks)


def settings_of(make_settings, name, **source):
    told = make_settings(name, mask_column="mask.png").model_dump(exclude_unset=True)
    for other in ("train_data_dir", "cache_dir"):
        told.pop(other)
    return TrainSettings(**told | source)


def test_a_run_on_a_store_is_that_on_a_folder(make_settings, shards, url):
    here = settings_of(make_settings, "here", train_data_dir=shards)
    there = settings_of(make_settings, "there", shards_url=url)
    assert train_to_bytes(here) == train_to_bytes(there)
    assert entries(here.cache_folder) == entries(there.cache_folder)


def test_a_warm_start_fetches_nothing_of_a_shard(make_settings, url, monkeypatch):
    settings = settings_of(make_settings, "run", shards_url=url)
    prepare(settings)
    monkeypatch.setattr("training.data.shard_files.RemoteShard.open", None)
    monkeypatch.setattr("training.data.shard_files.RemoteSlice.open", None)
    prepare(settings)


def test_a_shard_that_changed_is_another_one(shards, url):
    before = TarShards(remote_shards(url), COLUMNS).stamp()
    assert TarShards(remote_shards(url), COLUMNS).stamp() == before
    path = url.replace("*", "a")
    content = fsspec.open(path, "rb").open().read()
    with fsspec.open(path, "wb") as file:
        file.write(content + bytes(10240))
    assert TarShards(remote_shards(url), COLUMNS).stamp() != before


def test_a_store_that_gives_no_answer_is_named_and_no_sample_is_passed_over(
    tmp_path, url, monkeypatch
):
    source = TarShards(remote_shards(url), COLUMNS)

    def broken(self, *_, **__):
        raise RuntimeError("connection reset")

    store = type(fsspec.url_to_fs(url)[0])
    with monkeypatch.context() as patch:
        patch.setattr(store, "cat_file", broken)
        with pytest.raises(UnreachableError, match=r"cannot be read \(RuntimeError: connection"):
            usable(source, tmp_path)
    assert len(usable(source, tmp_path)) == 6


def test_addresses_of_nothing_are_a_sentence(url):
    with pytest.raises(DatasetError, match=r"names no \.tar"):
        remote_shards(url.replace("*.tar", "*.zip"))
    with pytest.raises(DatasetError, match="an address that fsspec knows"):
        remote_shards("nonsense://bucket/*.tar")
