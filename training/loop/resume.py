"""Going on with an earlier run: from which of its states, and only if it is the same run."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ..config.identity import defaults, global_batch
from ..config.run import TrainSettings
from ..data.words import shown
from ..models.bases import Base
from .run_data import Data
from .state import UNREADABLE, TrainState, list_states, read_notes

log = logging.getLogger(__name__)


class ResumeError(ValueError):
    """A run that cannot go on as asked; the message says what to do."""


# What a run stands on, in the words of messages.
_PARTS = {
    "pictures": "pictures",
    "captions": "captions",
    "conditions": "conditions",
    "masks": "masks",
    "unet": "weights of the UNet",
    "autoencoder": "weights of the autoencoder",
    "text": "weights or words of the text encoders",
}


@dataclass(frozen=True)
class Identity:
    """What makes a run the same beside its settings.

    pictures: how many are trained on. parts: names of the contents that it stands on.
    """

    processes: int
    pictures: int
    parts: Mapping[str, str]

    @classmethod
    def of(cls, data: Data, base: Base, processes: int) -> Self:
        """Return that of a run whose data is prepared."""
        prepared = data.prepared
        parts = dict(data.train.data.catalogue.identity)
        parts |= {"unet": base.unet_name, "autoencoder": prepared.autoencoder}
        return cls(processes, len(data.train.data), parts | {"text": prepared.text})

    def notes(self, settings: TrainSettings) -> dict[str, Any]:
        """Return what a state keeps of its run, so that no other run goes on from it."""
        return {"settings": settings.resolved(), **asdict(self)}

    def check(self, notes: Mapping[str, Any]) -> None:
        """ResumeError names what differs; what a state does not tell passes."""
        told = "so the run would not be the same; restore them, or start from its adapter with "
        told += "--adapter_model_name_or_path in another --output_dir."
        before = notes.get("pictures", self.pictures)
        if before != self.pictures:
            raise ResumeError(
                f"The checkpoint was trained on {before} pictures, and now there are "
                f"{self.pictures}, {told}"
            )
        kept = notes.get("parts")
        kept = kept if isinstance(kept, dict) else {}
        others = [
            word for part, word in _PARTS.items() if kept.get(part) not in (None, self.parts[part])
        ]
        if others:
            raise ResumeError(f"The checkpoint was trained on other {', '.join(others)}, {told}")


def check_resumable(settings: TrainSettings, processes: int) -> None:
    """Say what `resume` would refuse, as far as that is known before the data is prepared.

    Raises:
        ResumeError: there is an earlier run that would be overwritten, no such state, or the state
            is of a run with other settings.
    """
    wanted, found = settings.resume_from_checkpoint, list_states(settings.output_dir)
    if wanted is None:
        if found:
            raise ResumeError(
                f"{settings.output_dir} holds a run that is at {found[-1].stem}; add "
                f"--resume_from_checkpoint latest to go on with it, or name another --output_dir."
            )
        return
    if wanted != "latest" and not Path(wanted).is_file():
        raise ResumeError(f"There is no checkpoint {wanted}; 'latest' finds the newest one.")
    for path in reversed(found) if wanted == "latest" else [Path(wanted)]:
        try:
            _, notes = read_notes(path)
        except UNREADABLE:
            continue  # `resume` names it
        _check_settings(notes, settings, processes)
        return


def resume(state: TrainState, settings: TrainSettings, identity: Identity) -> None:
    """Load the state that the settings ask for, if they ask for one.

    Raises:
        ResumeError: it cannot be read, or is of a run with other settings, data or base.
    """
    wanted, found = settings.resume_from_checkpoint, list_states(settings.output_dir)
    if wanted is None:
        return
    if wanted == "latest":
        if not state.load_latest(settings.output_dir):
            if found:
                raise ResumeError(
                    f"None of the {len(found)} checkpoints in {settings.output_dir} fits this run "
                    f"or can be read; the reasons are above."
                )
            return
    else:
        _load(state, Path(wanted))
    _check_settings(state.notes, settings, identity.processes)
    identity.check(state.notes)
    log.info("resumed at step %d", state.step)


def _load(state: TrainState, path: Path) -> None:
    try:
        state.load(path)
    except UNREADABLE as error:
        reason = str(error).splitlines()[0]
        raise ResumeError(
            f"The checkpoint {path} is damaged or not of this run ({reason}); 'latest' finds the "
            f"newest one that can be read."
        ) from error


def _check_settings(notes: dict[str, Any], settings: TrainSettings, processes: int) -> None:
    """ResumeError names what differs; a state from before settings were kept passes."""
    if "settings" not in notes:
        return
    try:
        before = defaults(TrainSettings) | notes["settings"]
        names = settings.differences(before, processes, notes["processes"])
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ResumeError(
            f"The checkpoint's notes are not those of a run ({type(error).__name__}: "
            f"{shown(str(error))}); name another one, or another --output_dir."
        ) from error
    if not names:
        return
    now, told = settings.resolved(), []
    for name in names:
        if name == "train_batch_size":
            sizes = global_batch(before, notes["processes"]), global_batch(now, processes)
            told.append("the global batch was {} and is {}".format(*map(shown, sizes)))
        else:
            told.append(f"{name} was {shown(before.get(name))} and is {shown(now.get(name))}")
    raise ResumeError(
        f"The checkpoint is of a run with other settings ({'; '.join(told)}), so it cannot go on "
        f"as the same run; give the old values, or name another --output_dir."
    )
