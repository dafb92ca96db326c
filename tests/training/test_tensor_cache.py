import shutil
from types import SimpleNamespace

import pytest
import torch
from full_disk import fill_disk
from torch import nn

from training.cached.store import TensorStore
from training.data.digests import digest
from training.data.files import WriteError
from training.models.weights import weights_digest


def test_what_is_put_is_got(tmp_path):
    cache = TensorStore(tmp_path)
    tensors = {"a": torch.randn(2, 3).half(), "b": torch.arange(4).reshape(2, 2).T}
    assert cache.get("aa01") is None
    cache.put("aa01", tensors)
    assert cache.has("aa01")
    found = cache.get("aa01")
    assert all(torch.equal(found[key], value) for key, value in tensors.items())
    assert not list(tmp_path.rglob("*.partial"))


def test_a_damaged_entry_counts_as_missing(tmp_path):
    cache = TensorStore(tmp_path)
    cache.put("aa01", {"a": torch.zeros(100)})
    path = cache.path("aa01")
    content = path.read_bytes()
    for length in (0, 5, 50, len(content) - 1):
        path.write_bytes(content[:length])
        assert cache.get("aa01") is None
        path.write_bytes(content[:length])
        assert not cache.has("aa01")


def test_an_entry_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    fill_disk(monkeypatch)
    with pytest.raises(WriteError, match="Free some space"):
        TensorStore(tmp_path).put("aa01", {"a": torch.zeros(1)})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


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
    cache = TensorStore(tmp_path)
    cache.put("aa01", {"a": torch.zeros(1)})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="--cache_dir"):
        cache.put("aa02", {"a": torch.zeros(1)})
    assert cache.has("aa01")
