"""A server on this machine that speaks the hub's protocol, as far as its client asks for it.

Small files are sent where they are asked for; large ones (LFS) by a redirect to another host, as
the hub does, in ranges where they are asked for. It can break off in the middle of a file.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 100_000
"""Bytes from which on a file is kept as LFS."""
API = re.compile(r"/api/(models|spaces)/([^/]+/[^/]+)(?:/revision/[^/]+)?")
FILE = re.compile(r"/((?:spaces/)?[^/]+/[^/]+)/resolve/[^/]+/(.+)")


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked for."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By repository (spaces with `spaces/` before the name) and path."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes by path that the listing gives in place of the real ones."""
    gated: set[str] = field(default_factory=set)
    ends_at: int | None = None
    """The byte of a large file at which the connection ends."""
    breaks: int = 0
    """How often it does."""
    spoils: bool = False
    """Whether the last byte of large files is another one."""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, path and Range of every request."""

    def ranges(self) -> list[str | None]:
        """The ranges of large files asked for since the last call."""
        found = [asked for method, path, asked in self.asked
                 if method == "GET" and path.startswith("/lfs/")]  # fmt: skip
        self.asked.clear()
        return found

    def blobs(self) -> dict[str, bytes]:
        """The large files by their SHA-256."""
        every = [content for files in self.files.values() for content in files.values()]
        return {sha(content): content for content in every if len(content) >= LARGE}


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Answer(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        if found := API.fullmatch(path):
            self.listing(found[2] if found[1] == "models" else f"spaces/{found[2]}")
        elif found := FILE.fullmatch(path):
            self.resolved(found[1], found[2], body)
        elif path.startswith("/lfs/"):
            self.large(self.hub.blobs()[path.removeprefix("/lfs/")], body)
        else:
            self.send(b"a hub", body=body)

    def listing(self, repo: str) -> None:
        if repo not in self.hub.files:
            self.send(b"{}", 401, {"X-Error-Code": "RepoNotFound"})
            return
        content = {"id": repo.removeprefix("spaces/"), "sha": COMMIT, "siblings": [
            sibling(path, content, self.hub.sizes.get(path, len(content)))
            for path, content in self.hub.files[repo].items()
        ]}  # fmt: skip
        self.send(json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def resolved(self, repo: str, path: str, body: bool) -> None:
        headers = {"X-Repo-Commit": COMMIT}
        content = self.hub.files.get(repo, {}).get(path)
        if repo in self.hub.gated:
            self.send(b"", 403, {"X-Error-Code": "GatedRepo"})
        elif content is None:
            self.send(b"", 404, headers | {"X-Error-Code": "EntryNotFound"})
        elif len(content) >= LARGE:
            other = self.hub.url.replace("127.0.0.1", "localhost")
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha(content)}"'}
            self.send(b"", 302, headers | linked | {"Location": f"{other}/lfs/{sha(content)}"})
        else:
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self.send(content, headers=headers | {"ETag": f'"{etag}"'}, body=body)

    def large(self, content: bytes, body: bool) -> None:
        if self.hub.spoils:
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start, size = int(asked[1]) if asked else 0, len(content)
        headers = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if asked else {}
        end = self.hub.ends_at
        if not body or end is None or not self.hub.breaks:
            self.send(content[start:], 206 if asked else 200, headers, body)
            return
        self.hub.breaks -= 1
        self.send(content[start:], 206 if asked else 200, headers, body=False)
        self.wfile.write(content[start:end])
        self.close_connection = True

    def send(
        self, content: bytes, status: int = 200, headers: Any = None, body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """The tests read `asked`."""


def sibling(path: str, content: bytes, size: int) -> dict[str, Any]:
    """A file as the listing has it."""
    entry = {"rfilename": path, "size": size, "blobId": "0" * 40}
    lfs = {"sha256": sha(content), "size": size, "pointerSize": 134}
    return entry | ({"lfs": lfs} if len(content) >= LARGE else {})


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers inside."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Answer,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
