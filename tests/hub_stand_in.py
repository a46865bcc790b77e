"""A stand-in for the Hugging Face Hub: a server on this machine that answers what huggingface_hub
asks when it fetches a model, so that the true client runs, its cache included."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlparse

import pytest
from huggingface_hub import constants

Files = dict[str, bytes]


@dataclass
class Hub:
    """Repositories by name, each with its files by revision. gated: those whose files are refused.
    asked: the paths of all requests so far."""

    repositories: dict[str, dict[str, Files]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        words = [unquote(word) for word in urlparse(path).path.strip("/").split("/")]
        if words[:2] == ["api", "models"]:
            return self._about("/".join(words[2:4]), words[4:])
        if words[2:3] == ["resolve"] and len(words) > 4:
            return self._file("/".join(words[:2]), words[3], "/".join(words[4:]))
        return 404, {}, b"{}"  # the client asks for things of its own too

    def _about(self, name: str, rest: list[str]) -> tuple[int, dict[str, str], bytes]:
        revisions = self.repositories.get(name)
        if revisions is None:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        found = _revision(revisions, rest[1] if len(rest) > 1 else "main")
        if found is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = revisions[found]
        if rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": _hash(content)}
                for path, content in files.items()
            ]
            return 200, {}, json.dumps(tree).encode()
        about = {"id": name, "sha": commit(found), "siblings": [{"rfilename": p} for p in files]}
        return 200, {}, json.dumps(about).encode()

    def _file(self, name: str, revision: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        found = _revision(self.repositories[name], revision)
        if found is None or path not in self.repositories[name][found]:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        content = self.repositories[name][found][path]
        headers = {"ETag": f'"{_hash(content)}"', "X-Repo-Commit": commit(found)}
        return 200, headers, content


def commit(revision: str) -> str:
    """The hash of the commit that a revision stands for."""
    return _hash(revision.encode())


def write_cache(cache: Path, name: str, revision: str, files: Files) -> Path:
    """A repository in the layout of the client's cache, as an earlier download leaves it; the
    snapshot's folder."""
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / commit(revision)
    for path, content in files.items():
        blob, file = place / "blobs" / _hash(content), snapshot / path
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(blob)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / revision).write_text(commit(revision))
    return snapshot


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the client ask this Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.url` while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            hub.asked.append(self.path)
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def _revision(revisions: dict[str, Files], asked: str) -> str | None:
    """The revision that is asked for by its name or its commit."""
    return next((name for name in revisions if asked in (name, commit(name))), None)


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
