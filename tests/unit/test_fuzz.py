"""No file of a control, however broken, does anything but be read or be refused in a sentence."""

from collections import Counter

import fuzz_judges
import numpy as np
import pytest

from benchmarks.fuzz import READ, REFUSED, FuzzSettings, judge_all, judge_file, make_file
from benchmarks.mutations import BYTE_CHANGES, DRAFT_CHANGES, to_bytes, unbroken_drafts
from local_control.checkpoint import AdapterFile
from local_control.control_file import read_control

SEED = 1  # another than that of the command
FILES = 3000


def test_thousands_of_broken_files_are_read_or_refused_in_a_sentence(tmp_path):
    outcomes = {index: judge_file(SEED, index, tmp_path) for index in range(FILES)}
    assert {i: o for i, o in outcomes.items() if o not in (READ, REFUSED)} == {}
    # Neither is so rare that the files would show nothing.
    counts = Counter(outcomes.values())
    assert min(counts[READ], counts[REFUSED]) > FILES / 20


def test_every_way_to_break_a_file_is_tried():
    tried = {way for index in range(300) for way in make_file(SEED, index)[1]}
    assert tried == {change.__name__ for change in (*DRAFT_CHANGES, *BYTE_CHANGES)}


@pytest.mark.parametrize("change", DRAFT_CHANGES)
def test_every_change_of_a_draft_gives_other_files(change):
    rng = np.random.default_rng(SEED)
    for draft in unbroken_drafts():
        before = to_bytes(draft)
        for _ in range(9):
            change(rng, draft)
        assert to_bytes(draft) != before


def test_files_that_nothing_was_done_to_are_read_in_every_layout(tmp_path):
    path = tmp_path / "a.safetensors"
    kinds = Counter()
    for draft in unbroken_drafts():
        path.write_bytes(to_bytes(draft))
        file = read_control(path)
        kinds[file.config.kind if isinstance(file, AdapterFile) else "ControlNet"] += 1
    assert kinds == {"full": 20, "light": 16, "xl": 16, "ControlNet": 2}


def test_a_file_is_made_again_from_its_number():
    assert make_file(SEED, 7) == make_file(SEED, 7)
    assert make_file(SEED, 7) != make_file(SEED, 8)


@pytest.mark.parametrize("failure", ["crash", "hang", "MemoryError"])
def test_what_no_exception_tells_is_counted_and_the_rest_goes_on(tmp_path, failure):
    settings = FuzzSettings(files=4, seed=0, first=5, limit=1 if failure == "hang" else 60)
    found = dict(judge_all(settings, tmp_path, getattr(fuzz_judges, f"judge_{failure.lower()}")))
    assert found == {5: READ, 6: failure, 7: READ, 8: READ}
