"""The push of a finished run to the hub."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi

from ..data.words import shown

log = logging.getLogger(__name__)


class PublishError(OSError):
    """A repository that cannot be created or pushed to; the message says what to do."""


@dataclass(frozen=True)
class Repository:
    """A repository on the hub, by its name, perhaps with its owner.

    private: if it is created now; False: as its owner usually has them. token: None: as `hf auth
    login` keeps it.
    """

    name: str
    private: bool = False
    token: str | None = field(default=None, repr=False)

    def open(self) -> str:
        """Return its full name; it is created if there is none.

        Asked before training, so that a token or name that is no good ends the run at once.

        Raises:
            PublishError: the hub refuses it, or cannot be reached.
        """
        try:
            private = self.private or None
            return self._api.create_repo(self.name, private=private, exist_ok=True).repo_id
        except Exception as error:  # the library raises those of three others beside its own
            raise PublishError(
                f"The hub gives no repository {self.name} ({_reason(error)}); log in with `hf auth "
                f"login`, name another --hub_model_id, or go without --push_to_hub."
            ) from error

    def push(self, folder: Path, files: Sequence[Path], message: str) -> str:
        """Return the address that files of a run's folder are pushed to.

        Raises:
            PublishError: it failed; all files are still in the folder.
        """
        names = [path.relative_to(folder).as_posix() for path in files]
        try:
            name = self.open()
            found = self._api.upload_folder(
                repo_id=name, folder_path=folder, allow_patterns=names, commit_message=message
            )
        except Exception as error:
            reason = error if isinstance(error, PublishError) else _reason(error)
            raise PublishError(
                f"The run is done and {folder} holds all of it, but it could not be pushed "
                f"({reason}) The same command with --resume_from_checkpoint latest pushes again, "
                f"without training."
            ) from error
        log.info("pushed to %s", name)
        return str(found)

    @property
    def _api(self) -> HfApi:
        return HfApi(token=self.token)


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shown(lines[0] if lines else type(error).__name__, 200)
