"""A real HTTP server on this machine that serves a folder and misbehaves on demand."""

import contextlib
import gzip
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[["Handler", bytes], bool]
"""Answers a request for a file with these bytes; False leaves it to the honest answer."""


class Server:
    """What is served, how it misbehaves, and what was asked.

    `faults` maps the end of a path to a fault, which is told of every request for it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.faults: dict[str, Fault] = {}
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def count(self, end: str) -> int:
        """Requests for paths that end so."""
        return sum(path.endswith(end) for path, _ in self.requests)


class Handler(BaseHTTPRequestHandler):
    """Ranges, If-Range and ETags as a good server does them, unless there is a fault."""

    protocol_version = "HTTP/1.1"
    zoo: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.close_connection = True
        self.zoo.requests.append((self.path, self.headers.get("Range", "")))
        file = self.zoo.folder / self.path.lstrip("/")
        content = file.read_bytes() if file.is_file() else None
        fault = next((f for end, f in self.zoo.faults.items() if self.path.endswith(end)), None)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if fault is not None and fault(self, content or b""):
                return
            if content is None:
                self.answer(404, b"not here")
            else:
                self.honest(content)

    def honest(self, content: bytes) -> None:
        """The whole file, or the part asked for when it is still the same file."""
        tag = '"' + hashlib.sha256(content).hexdigest()[:16] + '"'
        start = self.asked_from()
        if start and self.headers.get("If-Range", tag) == tag:
            told = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {"ETag": tag, "Content-Range": told})
        else:
            self.answer(200, content, {"ETag": tag})

    def asked_from(self) -> int:
        """First byte of the range asked for."""
        given = self.headers.get("Range", "")
        return int(given.removeprefix("bytes=").rstrip("-")) if given else 0

    def answer(self, status: int, body: bytes, headers=None, length: int | None = -1) -> None:
        """One response; `length` None declares none, -1 the true one."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def serving(folder: Path, kind: type[Handler] = Handler) -> Iterator[Server]:
    """Serves `folder` on a free port of this machine."""
    state = Server(folder)
    handler = type("Handler", (kind,), {"zoo": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def first(times: int, fault: Fault) -> Fault:
    """The fault, the first few times only."""
    left = [times]

    def sometimes(handler: Handler, content: bytes) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fault(handler, content)

    return sometimes


def status(code: int, headers=None) -> Fault:
    """An error page."""
    return lambda handler, content: handler.answer(code, b"sorry", headers) is None


def cut(handler: Handler, content: bytes) -> bool:
    """The connection ends half-way through what was asked for."""
    start = handler.asked_from()
    rest = content[start:]
    if start:
        told = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206, rest[: len(rest) // 2], {"Content-Range": told}, length=len(rest))
    else:
        handler.answer(200, rest[: len(rest) // 2], length=len(rest))
    return True


def cut_undeclared(handler: Handler, content: bytes) -> bool:
    """The same without saying how much was to come."""
    handler.answer(200, content[: len(content) // 2], length=None)
    return True


def flipped(handler: Handler, content: bytes) -> bool:
    """One bit differs in the middle."""
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    handler.honest(bytes(damaged))
    return True


def longer(handler: Handler, content: bytes) -> bool:
    """One byte too many, and it says so."""
    handler.answer(200, content + b"x")
    return True


def endless(handler: Handler, content: bytes) -> bool:
    """Bytes without end and without a length."""
    handler.answer(200, content, length=None)
    while True:
        handler.wfile.write(bytes(1 << 16))


def login_page(handler: Handler, content: bytes) -> bool:
    """Another page, with status 200."""
    handler.answer(200, b"<html>log in</html>", {"Content-Type": "text/html"})
    return True


def gzipped(handler: Handler, content: bytes) -> bool:
    """Compressed although identity was asked for."""
    handler.answer(200, gzip.compress(content), {"Content-Encoding": "gzip"})
    return True


def range_ignored(handler: Handler, content: bytes) -> bool:
    """Always the whole file."""
    handler.answer(200, content)
    return True


def range_wrong(handler: Handler, content: bytes) -> bool:
    """Another part than asked for; without a range the whole file."""
    start = handler.asked_from()
    if not start:
        return False
    told = f"bytes 0-{len(content) - 1}/{len(content)}"
    handler.answer(206, content, {"Content-Range": told})
    return True


def stall(seconds: float) -> Fault:
    """Half of it, then nothing for a while."""

    def fault(handler: Handler, content: bytes) -> bool:
        handler.answer(200, content[: len(content) // 2], length=len(content))
        handler.wfile.flush()
        time.sleep(seconds)
        return True

    return fault


def dribble(handler: Handler, content: bytes) -> bool:
    """A byte now and then, for ever: no single read times out."""
    handler.answer(200, b"", length=len(content))
    for byte in content:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        time.sleep(0.02)
    return True


def redirect(target: str) -> Fault:
    """Somewhere else."""
    return status(302, {"Location": target})
