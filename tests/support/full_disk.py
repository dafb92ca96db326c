"""A disk that has no room left."""

import os


def fill_disk(monkeypatch):
    """Every flush of a file fails as on a full disk, after its bytes were written."""

    def no_space(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
