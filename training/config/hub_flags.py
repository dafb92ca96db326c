"""Flags of what is published: the model card, and the repository on the hub."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from .commands import CommandSettings


class HubFlags(CommandSettings):
    """Model card and hub."""

    license: str | None = Field(
        None, description="of the adapter, for its model card, by the hub's names: openrail++, mit"
    )
    push_to_hub: bool = Field(
        False,
        description="push adapter, model card and sheets at the end; the sheets show pictures that "
        "were held out",
    )
    hub_model_id: str | None = Field(
        None, description="name of the repository, perhaps with its owner (default: OUTPUT_DIR's)"
    )
    hub_private_repo: bool = Field(False, description="create the repository as a private one")
    hub_token: SecretStr | None = Field(
        None, description="what may write there (default: as `hf auth login` keeps it)"
    )

    @model_validator(mode="after")
    def _only_with_a_push(self) -> Self:
        if not self.push_to_hub:
            for name in ("hub_model_id", "hub_private_repo", "hub_token"):
                if getattr(self, name):
                    raise ValueError(f"--{name} needs --push_to_hub.")
        return self
