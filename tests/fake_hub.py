"""A stand-in for the Hugging Face Hub on loopback: real HTTP, repositories are folders, faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPO = "someone/faces"  # that tests put there


class FakeHub:
    """Serves `root`/owner/name/... as models; use it as a context manager.

    `requests` lists "METHOD path" in the order they came. `faults` maps a file name to what goes wrong with its
    content: "truncated" (half of it, cleanly closed), "dropped once" (the connection breaks at half, the first time),
    "slow headers" (100 bytes, one a second, and no content), "altered" (one byte differs), "slow" (a byte a second),
    "endless" (more than was announced) or "mute HEAD" (no answer for half a minute to the question what it is).
    `status` other than 200 answers every request; with `portal` every answer is an HTML page. A token that is not
    `TOKEN` may not write.

    The hub has a clock of its own, `monotonic`, on which nothing but such a fault takes time, and none takes any of the
    computer's. Whoever waits for a slow byte must look at it: put the hub in the place of its module `time`.
    """

    TOKEN = "hf_stand_in"

    def __init__(self, root: Path):
        self.root = root
        self.requests: list[str] = []
        self.faults: dict[str, str] = {}
        self.status = 200
        self.portal = False
        self.stored: dict[str, bytes] = {}  # large files by SHA-256, until a commit gives them a name
        self.closed = threading.Event()
        self.now = 0.0  # seconds on the hub's clock
        self._looks = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; the port refuses connections afterwards."""
        self.closed.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def monotonic(self) -> float:
        """Return the time on the hub's clock in seconds."""
        self._looks += 1
        return self.now

    @contextmanager
    def seen(self, seconds: float = 0.0) -> Iterator[None]:
        """Let what is sent take seconds on the hub's clock, and wait until the other side has looked at it."""
        looks = self._looks
        self.now += seconds
        yield
        while self._looks == looks and not self.closed.wait(0.01):
            pass

    def commit(self, repo_id: str) -> str:
        """Return the commit of main, which follows from the repository's content."""
        digest = hashlib.sha1()
        for file in self.files(repo_id):
            digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def files(self, repo_id: str) -> list[Path]:
        """Return the repository's files, sorted."""
        return sorted(path for path in (self.root / repo_id).rglob("*") if path.is_file())

    def requests_for(self, suffix: str) -> list[str]:
        """Return the requests whose path ends so."""
        return [request for request in self.requests if request.endswith(suffix)]


def etag(data: bytes, large: bool) -> str:
    """Return the Hub's name of a file's content: SHA-256 of a large (LFS) file, git's blob id of a small one."""
    return hashlib.sha256(data).hexdigest() if large else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection, from the folders and by the faults of its server's `hub`."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if self.hub.portal:
            self._reply(200, b"<html>Log in to this network</html>", {"Content-Type": "text/html"})
        elif self.hub.status != 200:
            self._reply(self.hub.status)
        elif api or resolve:
            repo_id, revision = (api or resolve)[1], (api or resolve)[2] or "main"
            if not (self.hub.root / repo_id).is_dir():
                self._reply(404, code="RepoNotFound")
            elif revision not in ("main", self.hub.commit(repo_id)):
                self._reply(404, code="RevisionNotFound")
            elif api:
                self._reply(200, json.dumps(_listing(self.hub, repo_id)).encode())
            else:
                self._file(repo_id, resolve[3])
        else:
            self._reply(404)

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        self.hub.requests.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {self.hub.TOKEN}":
            self._reply(401)
        elif path == "/api/repos/create":
            settings = json.loads(body)
            repo_id = f"{settings.get('organization', 'someone')}/{settings['name']}"
            (self.hub.root / repo_id).mkdir(parents=True, exist_ok=True)
            self._json({"url": f"{self.hub.url}/{repo_id}", "id": repo_id})
        elif re.fullmatch(r"/api/models/.+/preupload/main", path):
            files = [(file["path"], _is_large(Path(file["path"]))) for file in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "lfs" if large else "regular"} for name, large in files]
            self._json({"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            actions = [{"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}} for item in objects]
            self._json({"objects": [{**i, "actions": a} for i, a in zip(objects, actions, strict=True)]})
        elif commit := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            self._commit(commit[1], [json.loads(line) for line in body.splitlines()])
        else:
            self._reply(404)

    def do_PUT(self) -> None:
        data = self._body()
        self.hub.stored[hashlib.sha256(data).hexdigest()] = data
        self._reply(200)

    def _commit(self, repo_id: str, lines: list[dict]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                (self.hub.root / repo_id / value["path"]).write_bytes(base64.b64decode(value["content"]))
            if line["key"] == "lfsFile":
                (self.hub.root / repo_id / value["path"]).write_bytes(self.hub.stored[value["oid"]])
        commit = self.hub.commit(repo_id)
        self._json({"commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit}", "commitOid": commit})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _json(self, value: dict) -> None:
        self._reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, repo_id: str, name: str) -> None:
        file = self.hub.root / repo_id / name
        if not file.is_file():
            return self._reply(404, code="EntryNotFound")
        data = file.read_bytes()
        headers = {"ETag": f'"{etag(data, _is_large(file))}"', "X-Repo-Commit": self.hub.commit(repo_id)}
        if self.hub.faults.get(name) == "mute HEAD" and self.command == "HEAD":
            return self._hang()
        if self.hub.faults.get(name) == "slow headers":
            return self._trickle_headers()
        fault = self.hub.faults.get(name) if self.command == "GET" else None
        if fault == "slow":
            return self._trickle(data, headers)
        if fault == "endless":
            return self._overflow(headers)
        if fault == "altered":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if fault == "truncated":
            data = data[: len(data) // 2]
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if start:
            return self._reply(206, data[int(start[1]) :], headers)
        if fault == "dropped once":
            del self.hub.faults[name]
            return self._half(data, headers)
        return self._reply(200, data, headers)

    def _reply(self, status: int, body: bytes = b"", headers: dict | None = None, code: str = "") -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _trickle(self, data: bytes, headers: dict) -> None:
        self.close_connection = True
        with suppress(OSError):  # given up by the other side, as it should be
            with self.hub.seen():
                self._begin({**headers, "Transfer-Encoding": "chunked"})
            for byte in data:
                with self.hub.seen(seconds=1):
                    self.wfile.write(b"1\r\n%c\r\n" % byte)

    def _overflow(self, headers: dict) -> None:
        self.close_connection = True
        with suppress(OSError):  # given up by the other side, as it should be
            self._begin({**headers, "Transfer-Encoding": "chunked"})
            for _ in range(400):
                self.wfile.write(b"%x\r\n%s\r\n" % (2**16, bytes(2**16)))

    def _trickle_headers(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # given up by the other side, as it should be
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Padding: ")
            for _ in range(100):  # what gives nothing up must come to an end, too
                with self.hub.seen(seconds=1):
                    self.wfile.write(b"x")

    def _hang(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.settimeout(20)
            self.connection.recv(1)  # until the other side gives up
        self.hub.now += 30

    def _half(self, data: bytes, headers: dict) -> None:
        self._begin({**headers, "Content-Length": str(len(data))})
        self.wfile.write(data[: len(data) // 2])
        self.close_connection = True

    def _begin(self, headers: dict) -> None:
        self.send_response(200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()


def _is_large(file: Path) -> bool:
    return file.suffix in (".safetensors", ".bin")


def _listing(hub: FakeHub, repo_id: str) -> dict:
    siblings = []
    for file in hub.files(repo_id):
        data = file.read_bytes()
        item = {"rfilename": file.relative_to(hub.root / repo_id).as_posix(), "size": len(data)}
        item["blobId"] = etag(data, large=False)
        if _is_large(file):
            item["lfs"] = {"sha256": etag(data, large=True), "size": len(data), "pointerSize": 134}
        siblings.append(item)
    return {"id": repo_id, "modelId": repo_id, "sha": hub.commit(repo_id), "tags": [], "siblings": siblings}
