import pickle
import shutil
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch
from full_disk import fill_disk
from prepared import damage
from torch import nn

from training.cached.store import TensorStore
from training.data.digests import digest
from training.data.files import WriteError
from training.models.weights import weights_digest


def put(store, name, **tensors):
    with store.writer() as writer:
        writer.put(name, tensors)
    store.refresh()


def test_what_is_put_is_got(tmp_path):
    store = TensorStore(tmp_path)
    tensors = {"a": torch.randn(2, 3).half(), "b": torch.arange(4).reshape(2, 2).T}
    assert store.get("aa01") is None
    put(store, "aa01", **tensors)
    assert store.has("aa01")
    for one in (store, pickle.loads(pickle.dumps(store)), TensorStore(tmp_path)):
        found = one.get("aa01")
        assert all(torch.equal(found[key], value) for key, value in tensors.items())
    assert not list(tmp_path.rglob("*.partial"))


def test_entries_are_many_to_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("training.cached.store._SHARD_BYTES", 10_000)
    store = TensorStore(tmp_path)
    with store.writer() as writer:
        for index in range(100):
            writer.put(f"{index:02x}", {"a": torch.full((100,), index)})
    assert 5 < len(list(tmp_path.glob("shard-*"))) < 20
    store.refresh()
    for index in (0, 42, 99):
        assert (store.get(f"{index:02x}")["a"] == index).all()


def test_many_write_at_once_and_all_is_found(tmp_path):
    stores = [TensorStore(tmp_path) for _ in range(3)]
    with ExitStack() as stack:
        writers = [stack.enter_context(store.writer()) for store in stores]
        for index, writer in enumerate(writers):
            writer.put(f"own{index}", {"a": torch.tensor([index])})
            writer.put("shared", {"a": torch.zeros(1)})
    for store in stores:
        store.refresh()
        assert [store.get(f"own{index}")["a"].item() for index in range(3)] == [0, 1, 2]
        assert store.has("shared")
    put(stores[0], "later", a=torch.ones(1))
    assert not stores[1].has("later")
    assert len(list(tmp_path.glob("index-*"))) <= 3


def test_a_damaged_shard_counts_as_missing_and_harms_no_other(tmp_path):
    store = TensorStore(tmp_path)
    put(store, "aa01", a=torch.zeros(100))
    (path,) = tmp_path.glob("shard-*")
    put(store, "aa02", a=torch.ones(100))
    content = path.read_bytes()
    for length in (0, 5, 50, len(content) - 1):
        path.write_bytes(content[:length])
        store.refresh()
        assert store.get("aa01") is None
        assert not store.has("aa01")
        assert store.has("aa02")
        assert not path.exists()
    path.write_bytes(b"\xff" * 100)
    store.refresh()
    assert store.get("aa02")["a"].all()


def test_an_entry_that_is_damaged_since_is_missing_from_then_on(tmp_path):
    store = TensorStore(tmp_path)
    put(store, "aa01", a=torch.zeros(100))
    damage(tmp_path, "aa01")
    assert store.get("aa01") is None
    store.refresh()
    assert not store.has("aa01")


def test_a_shard_that_has_gone_since_is_a_missing_entry(tmp_path):
    store = TensorStore(tmp_path)
    put(store, "aa01", a=torch.zeros(100))
    next(tmp_path.glob("shard-*")).unlink()
    assert store.get("aa01") is None
    assert not TensorStore(tmp_path).has("aa01")


def test_a_damaged_index_is_made_anew(tmp_path):
    put(TensorStore(tmp_path), "aa01", a=torch.zeros(100))
    for path in tmp_path.glob("index-*"):
        path.write_bytes(path.read_bytes()[:50])
    assert TensorStore(tmp_path).has("aa01")


def test_an_entry_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    store = TensorStore(tmp_path)
    fill_disk(monkeypatch)
    with pytest.raises(WriteError, match="Free some space"):
        put(store, "aa01", a=torch.zeros(1))
    assert not list(tmp_path.glob("shard-*"))
    assert not list(tmp_path.glob("*.partial"))


def test_names_change_with_every_part():
    names = {
        digest("a", 1),
        digest("a", 2),
        digest("b", 1),
        digest("a", 1, b"x"),
        digest("a1"),
        digest(["a", 1]),
    }
    assert len(names) == 6
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})


def test_weights_have_a_name_of_their_own():
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    before = weights_digest(module)
    assert weights_digest(module) == before
    with torch.no_grad():
        module.weight[0, 0] += 1e-3
    assert weights_digest(module) != before
    assert weights_digest(module.half()) != before


def test_a_full_disk_is_named_and_loses_nothing(tmp_path, monkeypatch):
    store = TensorStore(tmp_path)
    put(store, "aa01", a=torch.zeros(1))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="--cache_dir"):
        put(store, "aa02", a=torch.zeros(1))
    assert store.has("aa01")
