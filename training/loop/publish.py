"""The push of a finished run to the hub."""

import logging
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

from ..config.run import TrainSettings
from ..data.words import shown

log = logging.getLogger(__name__)


class PublishError(OSError):
    """A repository that cannot be created or pushed to; the message says what to do."""


def open_repository(settings: TrainSettings) -> str:
    """Return the full name of the run's repository on the hub, created if there is none.

    Asked before training, so that a token or name that is no good ends the run at once.

    Raises:
        PublishError: the hub refuses it, or cannot be reached.
    """
    name = settings.hub_model_id or settings.output_dir.resolve().name
    private = settings.hub_private_repo or None  # None: as its owner usually has them
    try:
        return _api(settings).create_repo(name, private=private, exist_ok=True).repo_id
    except Exception as error:  # the library raises those of three others beside its own
        raise PublishError(
            f"The hub gives no repository {name} ({_reason(error)}); log in with `hf auth login`, "
            f"name another --hub_model_id, or go without --push_to_hub."
        ) from error


def push(settings: TrainSettings, files: Sequence[Path]) -> str:
    """Return the address on the hub that files of the run's folder are pushed to.

    Raises:
        PublishError: it failed; all files are still in the folder.
    """
    folder = settings.output_dir
    names = [path.relative_to(folder).as_posix() for path in files]
    try:
        repository = open_repository(settings)
        found = _api(settings).upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=names,
            commit_message=f"Step {settings.max_train_steps}",
        )
    except Exception as error:
        reason = error if isinstance(error, PublishError) else _reason(error)
        raise PublishError(
            f"The run is done and {folder} holds all of it, but it could not be pushed ({reason}) "
            f"The same command with --resume_from_checkpoint latest pushes again, without training."
        ) from error
    log.info("pushed to %s", repository)
    return str(found)


def _api(settings: TrainSettings) -> HfApi:
    token = settings.hub_token
    return HfApi(token=None if token is None else token.get_secret_value())


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shown(lines[0] if lines else type(error).__name__, 200)
