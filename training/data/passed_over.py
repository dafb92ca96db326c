"""What a folder holds beside its samples, told so that nothing is left out without a word."""

from collections.abc import Mapping

_HINTS = {
    "metadata.csv": "metadata.csv is not read: write its rows into metadata.jsonl",
    "metadata.parquet": "metadata.parquet is not read: write its rows into metadata.jsonl",
    "metadata.jsonl": "a metadata.jsonl in a folder below is not read: name that folder",
    ".parquet": ".parquet files are read with --dataset_name FOLDER instead of --train_data_dir",
    ".arrow": ".arrow files are read with --dataset_name FOLDER instead of --train_data_dir",
    ".tar": ".tar shards are read from a folder without pictures",
    ".heic": "save .heic as JPEG or PNG",
    ".jxl": "save .jxl as JPEG or PNG",
}
_MOST = 20


def told_passed(found: Mapping[str, int]) -> str:
    """Return one line that counts what was passed over, by suffix or name, with what to do."""
    most = sorted(found.items(), key=lambda kind: -kind[1])[:_MOST]
    counts = ", ".join(f"{count} {kind}" for kind, count in most)
    hints = [hint for end, hint in _HINTS.items() if any(kind.endswith(end) for kind in found)]
    return "; ".join([f"Passed over beside the pictures: {counts}", *hints]) + "."
