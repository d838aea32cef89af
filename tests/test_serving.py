"""`zoo serve` with real requests: every picture answered, and rightly; mistakes by a sentence."""

import concurrent.futures
import contextlib
import http.client
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from zoo.data import open_source
from zoo.evaluation import predict
from zoo.serving import Answering, Limits, application

pytest.importorskip("starlette", reason="Starlette is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")

ID = "vanilla_resnet50_tat_lrelu.digits"
_NOISE = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
LIMITS = Limits(bytes=100_000, seconds=1.0)


@pytest.fixture(scope="module")
def pictures():
    source = open_source("digits", "test")
    return [_encoded(source[i][0][..., 0]) for i in range(50)]


@pytest.fixture(scope="module")
def expected(pictures):
    return predict(ID, pictures, top=3)


@pytest.fixture(scope="module")
def port():
    """Of a server in a thread of this process."""
    config = uvicorn.Config(
        application(Answering(ID), LIMITS), port=0, log_level="warning", lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def _encoded(image, format="PNG"):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format)
    return file.getvalue()


def _ask(port, body, *, query="", method="POST", path="/predict"):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as server:
        server.request(method, path + query, body)
        reply = server.getresponse()
        return reply.status, reply.read()


def _same(answer, expected):
    assert answer["class"] == expected["class"]
    assert [one["class"] for one in answer["top"]] == [one["class"] for one in expected["top"]]
    # float32 in batches of another size.
    assert answer["probability"] == pytest.approx(expected["probability"], abs=1e-5)


def _many(port, pictures, expected, count, clients):
    def one(index):
        status, body = _ask(port, pictures[index % 50], query="?top=3")
        assert status == 200, body
        _same(json.loads(body), expected[index % 50])
        return index

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        assert list(pool.map(one, range(count))) == list(range(count))


def _state(port):
    return json.loads(_ask(port, None, method="GET", path="/healthz")[1])


def test_every_client_gets_the_answer_to_its_own_picture(port, pictures, expected):
    before = _state(port)
    _many(port, pictures, expected, 200, 32)
    after = _state(port)
    assert after["answered"] - before["answered"] == 200
    assert after["batches"] - before["batches"] < 150, "pictures are not computed together"
    assert after["status"] == "ok" and after["model"] == ID


def _bomb():
    """A PNG of a few bytes that announces 10^10 pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "body, query, status, sentence",
    [
        (b"", "", 400, "the body is empty"),
        (b"no picture", "", 400, "is no image|not an image|cannot"),
        (_encoded(_NOISE)[:500], "", 400, "damaged|truncated"),
        (_bomb(), "", 400, "pixels"),
        (b"x" * 100_001, "", 413, "100,000 bytes"),
        (b"x", "?top=0", 400, "top='0'; give a whole number"),
        (b"x", "?top=" + "9" * 5000, 400, "give a whole number"),
    ],
    ids=["empty", "text", "cut", "bomb", "large", "top", "long top"],
)
def test_what_is_wrong_is_answered_by_a_sentence(port, body, query, status, sentence):
    found, answer = _ask(port, body, query=query)
    assert found == status, answer
    message = json.loads(answer)["error"]
    assert re.search(sentence, message) and "\n" not in message and "Traceback" not in message


def test_a_body_without_a_length_is_bounded_too(port):
    def parts():
        for _ in range(200):
            yield b"x" * 1000

    # http.client sends parts in chunks.
    assert _ask(port, parts())[0] == 413


@pytest.mark.parametrize("method, path, status", [("GET", "/predict", 405), ("GET", "/x", 404)])
def test_other_places_are_refused(port, method, path, status):
    assert _ask(port, None, method=method, path=path)[0] == status


def test_a_slow_client_is_given_up_while_others_are_answered(port, pictures, expected):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf")
        status, body = _ask(port, pictures[0], query="?top=3")
        assert status == 200
        _same(json.loads(body), expected[0])
        reply = slow.recv(4096).decode()
    assert reply.startswith("HTTP/1.1 408") and "within 1 s" in reply


def test_a_client_that_leaves_harms_nobody(port, pictures, expected):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhalf")
    _many(port, pictures, expected, 4, 2)


def test_the_page_loads_nothing_from_elsewhere(port):
    status, body = _ask(port, None, method="GET", path="/")
    page = body.decode()
    assert status == 200 and ID in page and "//" not in page


@pytest.mark.slow
def test_a_thousand_requests_from_32_clients_and_memory_stays(pictures, expected):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "zoo", "serve", ID, "--port", str(port)]
    server = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        assert any("Ctrl-C ends it" in line for line in iter(server.stderr.readline, ""))
        for _ in range(200):
            try:
                _state(port)
                break
            except OSError:
                time.sleep(0.1)
        _many(port, pictures, expected, 200, 32)
        before = _resident(server.pid)
        _many(port, pictures, expected, 1000, 32)
        assert _resident(server.pid) < before + 20e6
        assert _state(port)["answered"] == 1200
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)


def _resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmRSS"))
