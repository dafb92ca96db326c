"""Settings of commands: typed, from command-line flags and perhaps a TOML file."""

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .help import help_text
from .sentences import join_whole

# What is said of a flag whose words cannot be taken apart.
_UNREAD = re.compile(r"^Parsing error encountered for (\w+): (.+)$", re.DOTALL)

Settings = TypeVar("Settings", bound="CommandSettings")


class SettingsError(ValueError):
    """Settings that do not fit each other; the message says what to do."""


class CommandSettings(BaseSettings):
    """Base of every command's settings: each field is a flag, unknown flags are refused.

    presets: the folder of TOML files that `--config` knows by name; None: there is no such flag.
    alternatives: pairs of settings; a flag of the first sets aside what a file says of the second,
    which would contradict it. The environment is not read: a variable that happens to be called
    SEED must not change a run.
    """

    presets: ClassVar[Path | None] = None
    alternatives: ClassVar[tuple[tuple[str, str], ...]] = ()

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where values come from: the caller, then the file of `--config` if there is one.

        pydantic-settings puts the flags before both.
        """
        if cls.presets is None:
            return (init_settings,)
        return (init_settings, TomlFlag(settings_cls, cls.presets, cls.alternatives))


class TomlFlag(InitSettingsSource):
    """The TOML file that the flag `--config` names, below the flags themselves."""

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        presets: Path,
        alternatives: Sequence[tuple[str, str]],
    ) -> None:
        super().__init__(settings_cls, {})
        self._presets = presets
        self._alternatives = alternatives

    def __call__(self) -> dict[str, Any]:
        """The file's settings.

        Raises:
            ValueError: there is no such file or preset, or it is no TOML.
        """
        flags = self.current_state
        name = flags.get("config")
        found = {} if name is None else read_toml(Path(name), self._presets)
        aside = {other for one, other in self._alternatives if one in flags}
        # Those that flags name too, since pydantic-settings would merge tables.
        return {key: value for key, value in found.items() if key not in aside | flags.keys()}


def read_toml(name: Path, presets: Path) -> dict[str, Any]:
    """Return what a TOML file, or the preset of that name, says.

    Raises:
        ValueError: there is neither, it is no TOML, or it names a file of its own.
    """
    path = name if name.is_file() else presets / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(preset.stem for preset in presets.glob("*.toml")))
        raise ValueError(f"--config {name}: there is no such file, and no such preset ({known}).")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is no TOML: it is nested too deep.") from None
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}.") from None
    if "config" in found:
        raise ValueError(f"{path} names a config of its own; only the flag --config does.")
    return found


def read_settings(kind: type[Settings], arguments: Sequence[str] | None = None) -> Settings:
    """Return the settings that flags (`sys.argv` by default) name.

    Raises:
        SystemExit: with what is wrong, or after `--help`.
    """
    flags = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(flags):
        sys.stdout.write(help_text(kind) + "\n")
        raise SystemExit(0)
    try:
        return CliApp.run(kind, cli_args=join_whole(kind, flags))
    except ValidationError as error:
        raise SystemExit("\n".join(map(_sentence, error.errors()))) from None
    except ValueError as error:
        raise SystemExit(
            _UNREAD.sub(r"--\1 cannot be read (\2); see --help.", str(error))
        ) from None


def _sentence(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return f"There is no setting {name!r}; --help lists them all."
        case "missing":
            return f"--{name} is missing."
        case "value_error":
            message = str(error["ctx"]["error"])
            return f"--{name}: {message}" if name else message
        case _:
            return f"--{name} is {error['input']!r}: {error['msg']}."
