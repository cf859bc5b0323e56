"""Upload of an export to the Hugging Face hub, with the token of its login or of HF_TOKEN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from linly.errors import ConfigError
from linly.storage.hub import HubModel


@dataclass(frozen=True, slots=True)
class HubUpload:
    """A repository to upload to.

    Attributes:
        repository: Its hub id, `org/name`.
        is_public: Whether everybody may see it.
    """

    repository: str
    is_public: bool

    @classmethod
    def checked(cls, repository: str, *, is_public: bool) -> HubUpload:
        """Check the name and the login, and create the repository if it does not exist.

        Raises:
            ConfigError: If the name is invalid, nobody is logged in, the hub refuses, or the
                repository exists and is public although it was not asked for.
        """
        from huggingface_hub import HfApi, get_token

        name = HubModel.parse(repository)
        if name is None or name.revision is not None:
            raise ConfigError(f"--push: found {repository!r}, allowed: org/name")
        if get_token() is None:
            raise ConfigError(
                f"--push {repository}: nobody is logged in to the hub; run `hf auth login`, or set "
                f"HF_TOKEN to a token that may write"
            )
        with _explaining(repository):
            api = HfApi()
            api.create_repo(repository, private=not is_public, exist_ok=True)
            is_private = api.model_info(repository).private
        if not is_private and not is_public:
            raise ConfigError(
                f"--push {repository}: the repository exists and is public; pass --public, or "
                f"another name"
            )
        return cls(repository, is_public)

    def send(self, folder: Path) -> str:
        """Upload a folder as it is, and return the address of the commit.

        Raises:
            ConfigError: If the hub refuses or cannot be reached; the folder stays.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        with _explaining(f"{self.repository} (to try again: hf upload {self.repository} {folder})"):
            done = HfApi().upload_folder(
                repo_id=self.repository,
                folder_path=folder,
                commit_message=f"Export of {folder.resolve().name} by linly",
            )
        return str(done.commit_url)


@contextmanager
def _explaining(repository: str) -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (HfHubHTTPError, httpx2.HTTPError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--push {repository}: {type(error).__name__}: {reason[:300]}") from error
