"""A stand-in for the Hugging Face hub on this machine: repositories with commits, in memory.

It answers what ``huggingface_hub`` asks when it makes a repository, commits files (small ones in
the commit, large ones by LFS), and takes a snapshot. Others get 404, as on the hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_test"
NAME = r"(?P<name>[\w.-]+/[\w.-]+)"


class Hub:
    """Repositories by name: revision -> files by path."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        hub = self

        class Handler(_Handler):
            here = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def commit_of(files: dict[str, bytes]) -> str:
    """A commit's id, from its content."""
    text = repr(sorted((path, hashlib.sha1(data).hexdigest()) for path, data in files.items()))
    return hashlib.sha1(text.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    here: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def _do(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.here.requests.append(f"{self.command} {path}")
        for method, pattern, answer in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                return answer(self, body, **match.groupdict())
        self._json(404, dict(error="Not found"), {"X-Error-Message": "Not found"})
        return None

    do_GET = do_HEAD = do_POST = do_PUT = _do

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json"}
        self._send(status, json.dumps(value).encode(), {**kind, **(headers or {})})

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._json(401, dict(error="Invalid username or password."))
        return False

    def _files(self, name: str, revision: str) -> dict[str, bytes] | None:
        repo = self.here.repos.get(name)
        if repo is None:
            self._json(404, dict(error="Repository not found"), {"X-Error-Code": "RepoNotFound"})
            return None
        found = repo.get(revision)
        if found is None:
            found = next((f for f in repo.values() if commit_of(f) == revision), None)
        if found is None:
            self._json(404, dict(error="Invalid rev"), {"X-Error-Code": "RevisionNotFound"})
        return found

    # -------------------------------------------------------------------------------- questions
    def create(self, body: bytes) -> None:
        if not self._allowed():
            return
        asked = json.loads(body)
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        status = 409 if name in self.here.repos else 200
        self.here.repos.setdefault(name, {"main": {}})
        self._json(status, dict(url=f"{self.here.url}/{name}", name=name, id=name))

    def validate(self, body: bytes) -> None:
        card = json.loads(body)["content"]
        head = yaml.safe_load(card.split("---\n")[1])
        wrong = [] if head.get("license") else [dict(message='"license" is missing')]
        self._json(400 if wrong else 200, dict(errors=wrong, warnings=[]))

    def branch(self, body: bytes, name: str, revision: str) -> None:
        if self._allowed():
            repo = self.here.repos[name]
            status = 409 if revision in repo else 200
            repo.setdefault(revision, dict(repo["main"]))
            self._json(status, {})

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if self._allowed():
            files = [
                dict(path=f["path"], shouldIgnore=False, oid=None,
                     uploadMode="lfs" if f["path"].endswith(".safetensors") else "regular")
                for f in json.loads(body)["files"]
            ]  # fmt: skip
            self._json(200, dict(files=files))

    def batch(self, body: bytes, name: str) -> None:
        objects = [
            dict(o, actions=dict(upload=dict(href=f"{self.here.url}/lfs/{o['oid']}", header={})))
            for o in json.loads(body)["objects"]
        ]
        self._json(200, dict(transfer="basic", objects=objects))

    def store(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.here.blobs[oid] = body
        self._json(200, {})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        if not self._allowed():
            return
        files = dict(self.here.repos[name][revision])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.here.blobs[value["oid"]]
        self.here.repos[name][revision] = files
        oid = commit_of(files)
        self._json(200, dict(commitUrl=f"{self.here.url}/{name}/commit/{oid}", commitOid=oid,
                             success=True))  # fmt: skip

    def info(self, body: bytes, name: str, revision: str = "main") -> None:
        files = self._files(name, revision)
        if files is not None:
            siblings = [dict(rfilename=path) for path in files]
            self._json(200, dict(id=name, modelId=name, sha=commit_of(files), private=False,
                                 siblings=siblings, tags=[], downloads=0, likes=0))  # fmt: skip

    def tree(self, body: bytes, name: str, revision: str) -> None:
        files = self._files(name, revision)
        if files is not None:
            self._json(200, [
                dict(type="file", path=path, size=len(data), oid=hashlib.sha1(data).hexdigest())
                for path, data in files.items()
            ])  # fmt: skip

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        files = self._files(name, revision)
        if files is None:
            return
        if path not in files:
            self._json(404, dict(error="Entry not found"), {"X-Error-Code": "EntryNotFound"})
            return
        data = files[path]
        digest = hashlib.sha256(data).hexdigest()
        self._send(200, data, {"ETag": f'"{digest}"', "X-Repo-Commit": commit_of(files)})


REVISION = r"(?P<revision>[\w.-]+)"
ROUTES = [
    (("POST",), "/api/repos/create", _Handler.create),
    (("POST",), "/api/validate-yaml", _Handler.validate),
    (("POST",), f"/api/models/{NAME}/branch/{REVISION}", _Handler.branch),
    (("POST",), f"/api/models/{NAME}/preupload/{REVISION}", _Handler.preupload),
    (("POST",), rf"/{NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    (("PUT",), r"/lfs/(?P<oid>\w+)", _Handler.store),
    (("POST",), f"/api/models/{NAME}/commit/{REVISION}", _Handler.commit),
    (("GET",), f"/api/models/{NAME}", _Handler.info),
    (("GET",), f"/api/models/{NAME}/revision/{REVISION}", _Handler.info),
    (("GET",), f"/api/models/{NAME}/tree/{REVISION}", _Handler.tree),
    (("GET", "HEAD"), f"/{NAME}/resolve/{REVISION}/(?P<path>.+)", _Handler.resolve),
]
