"""What comes as text: addresses of weights, options of the command line, answers of servers."""

import atexit
import contextlib
import functools
import io
import json
import os
import socketserver
import threading
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.fuzzing.contract import Format
from tests.fuzzing.inputs import bytes_like, damaged
from zoo import cli
from zoo.pretrained import load_pretrained
from zoo.training.folder import METRICS, read_metrics
from zoo.transfer.http import blocks, open_url
from zoo.transfer.patience import Patience

_ADDRESSES = (
    b"vanilla_resnet50_tat_lrelu.digits",
    b"dir:checkpoints/x",
    b"dir:a.safetensors",
    b"x.safetensors",
    b"runs/mine",
    b"~/x",
    b"https://example.org/a#sha256=" + b"0" * 64,
    b"https://example.org:99999/a.safetensors",
    b"https://[::1",
    b"hf:org/name@v1/x",
    b"hf:org/..@",
)


def _address(content: bytes, folder: Path) -> object:
    os.environ["ZOO_CHECKPOINTS"] = os.environ["ZOO_CACHE"] = str(folder / "none")
    return load_pretrained(os.fsdecode(content))


_OPTIONS = (
    b"--data.name\ncifar10\n--steps\n10",
    b"--optimizer.name\nsgd\n--schedule.peak\n0.1\n--model.width\n0.5",
    b"--epochs\n1\n--mesh.data\n2\n--data.classes\na\nb",
    b"--model.scan\nTrue\n--eval.every\nNone\n--no-data.resident",
)


def _options(content: bytes, _: Path) -> object:
    args = [os.fsdecode(part) for part in content.replace(b"\0", b"").split(b"\n")]
    with contextlib.redirect_stdout(io.StringIO()):
        # Asked for its help it ends as it should.
        with contextlib.suppress(SystemExit):
            return cli._parse(["train", "--workdir", "x", *args])
    return None


_LOG = b"".join(
    json.dumps(line).encode() + b"\n" for line in ({"step": 1, "loss": 0.5}, {"step": 2})
)


def _log(content: bytes, folder: Path) -> object:
    (folder / METRICS).write_bytes(content)
    return read_metrics(folder)


_ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\n\r\nhello",
    b"HTTP/1.1 429 Slow\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://user@example.org:x/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/html; charset=x\r\n\r\n",
)


class _Answer(socketserver.BaseRequestHandler):
    """Sends the server's content, word for word, whatever is asked."""

    def handle(self) -> None:
        self.request.settimeout(2)
        with contextlib.suppress(OSError):
            self.request.recv(1 << 16)
            self.request.sendall(self.server.content)


@functools.cache
def _server() -> Any:
    server: Any = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answer)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    atexit.register(server.server_close)
    return server


def _answer(content: bytes, _: Path) -> object:
    os.environ["NO_PROXY"] = "127.0.0.1"
    server = _server()
    server.content = content
    with open_url(f"http://127.0.0.1:{server.server_address[1]}/x") as response:
        return sum(map(len, blocks(response, Patience())))


FORMATS = (
    Format("address", bytes_like(_ADDRESSES), _address, (b"~\0", b"\xb5/~\0~/", b"~nobody/x")),
    Format("options", damaged(_OPTIONS), _options, examples=8),
    Format("log", bytes_like([_LOG]), _log, (b'"step": 2}\n', b"x\xb4\n", b"[]\n", b"[" * 9999)),
    Format("answer", bytes_like(_ANSWERS) | st.just(b""), _answer),
)
