"""Settings of commands: typed, from command-line flags alone."""

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class CommandSettings(BaseSettings):
    """Base of every command's settings: each field is a flag, unknown flags are refused.

    The environment is not read: a variable that happens to be called SEED must not change a run.
    """

    model_config = SettingsConfigDict(cli_parse_args=True, extra="forbid")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the caller passes; pydantic-settings puts the flags before it."""
        return (init_settings,)
