"""Repositories on the hub: what lies there, and its files, fetched so that a broken download goes
on where it ended."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from anydoor_lab.structures.errors import InputError, RunError

CHECKPOINTS = (".safetensors", ".ckpt")
"""How the names of checkpoints in one file end; the safe format first."""
NAME = re.compile(r"\w[\w.-]*/[\w.-]+(/[^/]+)*")
INCOMPLETE = ".incomplete"
"""What the hub's cache calls a file that is not whole yet."""
SECONDS = 5.0
"""How long a first answer of the hub may take, and another process be waited for."""


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository on the hub, and perhaps one file of it."""

    repo: str
    kind: str = "model"
    file: str = ""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; large ones are published with their SHA-256."""

    path: str
    size: int
    sha256: str


def parsed(text: str) -> HubName | None:
    """`owner/name`, `spaces/owner/name` and either with `/<file>` as a name on the hub; None where
    it can be none, as a path to a checkpoint in a folder."""
    if not NAME.fullmatch(text):
        return None
    kind = "space" if text.startswith("spaces/") and text.count("/") > 1 else "model"
    owner, name, *file = text.removeprefix("spaces/" if kind == "space" else "").split("/")
    if not file and name.endswith(CHECKPOINTS):
        return None
    return HubName(f"{owner}/{name}", kind, "/".join(file))


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository on the hub has, at one commit."""

    name: HubName
    commit: str
    files: tuple[HubFile, ...]

    def matching(self, patterns: Sequence[str]) -> list[HubFile]:
        """The files whose paths fit one of these patterns."""
        from huggingface_hub.utils import filter_repo_objects

        def path(file: HubFile) -> str:
            return file.path

        return list(filter_repo_objects(self.files, allow_patterns=list(patterns), key=path))

    def left(self, file: HubFile) -> int:
        """How many of a file's bytes the cache does not have yet."""
        whole = self._blob(file)
        part = whole.with_name(whole.name + INCOMPLETE)
        if not file.sha256 or whole.exists():
            return 0
        return max(file.size - (part.stat().st_size if part.exists() else 0), 0)

    def fetch(self, file: HubFile) -> Path:
        """The file's path in the hub's cache; what is not there yet is downloaded.

        Raises:
            ValueError: what came is another file than published, or another process fetches it.
            RuntimeError: the disk is full, or may not be written.
        """
        from huggingface_hub import hf_hub_download

        try:
            if file.sha256:
                self._complete(file)
            path = hf_hub_download(self.name.repo, file.path, repo_type=self.name.kind)
        except OSError as error:
            if error.errno is None:  # the network's
                raise
            raise RunError(
                f"{file.path} could not be kept in {self._storage()} ({error.strerror}); mend that "
                "or name another place by HF_HOME, then repeat the command"
            ) from error
        return Path(path)

    def fetch_folder(self, files: Sequence[HubFile]) -> Path:
        """The folder of these files in the hub's cache; as `fetch`."""
        folder = self._storage() / "snapshots" / self.commit
        for file in files:
            folder = self.fetch(file).parents[file.path.count("/")]
        return folder

    def _storage(self) -> Path:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        name = repo_folder_name(repo_id=self.name.repo, repo_type=self.name.kind)
        return Path(constants.HF_HUB_CACHE) / name

    def _blob(self, file: HubFile) -> Path:
        return self._storage() / "blobs" / file.sha256

    def _complete(self, file: HubFile) -> None:
        """Make the file whole in the cache's own layout, where `hf_hub_download` finds it.

        That function begins anew in each process, which a file of gigabytes may never survive.
        """
        from filelock import Timeout
        from huggingface_hub.utils import WeakFileLock

        whole = self._blob(file)
        if whole.exists():
            return
        whole.parent.mkdir(parents=True, exist_ok=True)
        part = whole.with_name(whole.name + INCOMPLETE)
        try:
            with WeakFileLock(part.with_name(part.name + ".lock"), timeout=SECONDS):
                if not whole.exists():
                    self._go_on(file, part)
                    part.replace(whole)
        except Timeout as error:
            raise InputError(
                f"another process is fetching {file.path}; wait for it, then repeat the command"
            ) from error

    def _go_on(self, file: HubFile, part: Path) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        if part.exists() and part.stat().st_size > file.size:
            part.unlink()
        url = hf_hub_url(self.name.repo, file.path, repo_type=self.name.kind, revision=self.commit)
        with part.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(),
                expected_size=file.size,
                displayed_filename=file.path,
            )
        with part.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.sha256:
            part.unlink()
            raise InputError(
                f"{file.path} came with the SHA-256 {found}, published is {file.sha256}; it was "
                "spoilt on its way and is thrown away: repeat the command"
            )


def repository(name: HubName) -> Repository:
    """What the hub says about a repository.

    Raises:
        Exception: one of `errors()`.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    ask = api.space_info if name.kind == "space" else api.model_info
    info = ask(name.repo, files_metadata=True, timeout=2 * SECONDS)
    files = [
        HubFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else "")
        for one in info.siblings or ()
    ]
    return Repository(name, info.sha or "main", tuple(files))


def errors() -> tuple[type[Exception], ...]:
    """What the hub's client raises: its own errors, its HTTP library's and the system's."""
    from huggingface_hub.utils import get_session

    # httpx, or its successor
    library = import_module(type(get_session()).__module__.partition(".")[0])
    return library.HTTPError, OSError


def fault(error: Exception) -> str:
    """Why the hub did not hand something out, in a few words."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, GatedRepoError):
        return "gated: accept its licence on its page and log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "no such hub repository"
    if isinstance(error, LocalEntryNotFoundError):
        return "not in the hub's cache"
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered: {said}"
    if isinstance(error, OSError) and error.errno is not None:  # the system's
        return said
    return f"the hub's answer broke off: {said}"


def answers() -> bool:
    """Whether the hub answers at all, asked once in a minute: its client tries half a minute for
    every file."""
    return _answers(int(time.monotonic()) // 60)


@lru_cache(maxsize=1)
def _answers(minute: int) -> bool:
    del minute
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.utils import get_session

    try:
        get_session().head(ENDPOINT, timeout=SECONDS)
    except errors():
        return False
    return True
