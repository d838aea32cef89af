"""However a server behaves, a download ends within 120 s and one for every 1,000 bytes it sent.

Real servers on this machine write raw bytes, as no library for servers would.
"""

import contextlib
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pretrained.helpers import FETCH
from zoo.transfer import Digest, DownloadError, TransferProblem, fetch, patience, read_small

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SIZE = 50_000


def _drip(connection, text, every_s=0.02):
    for byte in text:
        connection.sendall(bytes([byte]))
        time.sleep(every_s)


def _flood(connection, block):
    while True:
        connection.sendall(block)


def _silent(connection, start):
    time.sleep(60)


def _drips_headers(connection, start):
    _drip(connection, OK + b"X-Slow: ")
    _drip(connection, itertools.repeat(ord("x")))


def _floods_headers(connection, start):
    connection.sendall(OK)
    _flood(connection, b"X-Long: " + b"x" * 60_000)


def _continues_for_ever(connection, start):
    _flood(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def _drips_body(connection, start):
    connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % SIZE)
    _drip(connection, bytes(SIZE))


def _drips_a_chunks_size(connection, start):
    connection.sendall(CHUNKED + b"5;")
    _drip(connection, itertools.repeat(ord("x")))


def _drips_chunks(connection, start):
    connection.sendall(CHUNKED)
    for _ in range(SIZE):
        connection.sendall(b"1\r\nx\r\n")
        time.sleep(0.02)


def _trails_for_ever(connection, start):
    connection.sendall(CHUNKED + b"1\r\nx\r\n0\r\n")
    _flood(connection, b"X-Trailer: x\r\n" * 100)


def _redirects_with_a_body_without_end(connection, start):
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /%d\r\n\r\n" % time.monotonic_ns())
    _flood(connection, bytes(1 << 16))


def _redirects_slowly(connection, start):
    _drip(connection, b"HTTP/1.1 302 Found\r\nLocation: /%d\r\n\r\n" % time.monotonic_ns(), 0.01)


def _always_busy(connection, start):
    connection.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 40\r\nContent-Length: 0\r\n\r\n")


def _fast_then_silent(connection, start):
    connection.sendall(OK + b"Content-Length: 9000000\r\n\r\n" + bytes(8_000_000))
    time.sleep(60)


def _a_byte_each_time(connection, start):
    if start == 0:
        connection.sendall(OK + b"Content-Length: %d\r\n\r\nx" % SIZE)
        return
    head = b"HTTP/1.1 206 Part\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % (start, SIZE - 1, SIZE, SIZE - start) + b"x")


def _the_beginning_again_and_again(connection, start):
    """Longer and shorter by turns, so that each other time more has come than before."""
    size = 3_000_000 if time.monotonic_ns() % 2 else 1_000_000
    connection.sendall(OK + b"Content-Length: 9000000\r\n\r\n" + bytes(size))


KINDS = {
    kind.__name__.strip("_"): kind
    for kind in (
        _silent, _drips_headers, _floods_headers, _continues_for_ever, _drips_body,
        _drips_a_chunks_size, _drips_chunks, _trails_for_ever, _redirects_with_a_body_without_end,
        _redirects_slowly, _always_busy, _fast_then_silent, _a_byte_each_time,
        _the_beginning_again_and_again,
    )
}  # fmt: skip


@contextlib.contextmanager
def serving(behave):
    """A server that answers every request with `behave(connection, first byte asked for)`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=50)
    stopped = threading.Event()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            request = connection.recv(1 << 16)
            start = request.partition(b"Range: bytes=")[2].partition(b"-")[0]
            behave(connection, int(start or 0))

    def accept():
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        listener.close()


@pytest.fixture
def short(monkeypatch):
    """The same limits, a two hundredth as long."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.6)
    monkeypatch.setattr(patience, "TIMEOUT_S", 0.2)


def _seconds_until_refused(kind, folder, small=False):
    began = time.monotonic()
    with serving(KINDS[kind]) as port:
        url = f"http://127.0.0.1:{port}/file"
        with pytest.raises((DownloadError, TransferProblem)) as caught:
            if small:
                read_small(url, 4 << 20)
            else:
                fetch([url], folder / "file", Digest("0" * 64), part=folder / f"{kind}.part")
    assert not (folder / "file").exists()
    return time.monotonic() - began, str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_server_is_given_up_in_time(short, tmp_path, kind):
    # Up to 9 MB come at once and earn no more than the patience there was at the beginning.
    seconds, why = _seconds_until_refused(kind, tmp_path)
    assert seconds < 2 * patience.PATIENCE_S + 1.0, why
    seconds, why = _seconds_until_refused(kind, tmp_path, small=True)
    assert seconds < patience.PATIENCE_S + 1.0, why


def test_what_is_slow_but_goes_on_is_waited_for(monkeypatch, tmp_path):
    """The limit is on progress: five times the patience, at more than the slowest rate."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.4)
    size = 6_000

    def steady(connection, start):
        connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(20):
            connection.sendall(bytes(size // 20))
            time.sleep(0.1)

    with serving(steady) as port:
        fetch([f"http://127.0.0.1:{port}/x"], tmp_path / "x", Digest(), part=tmp_path / "part")
    assert (tmp_path / "x").stat().st_size == size


@pytest.mark.parametrize("proxied", [False, True])
def test_a_handshake_and_a_proxy_are_bounded_too(short, monkeypatch, tmp_path, proxied):
    with serving(_drips_headers) as port:
        url = f"https://127.0.0.1:{port}/x"
        if proxied:
            url = "https://example.org/x"
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        began = time.monotonic()
        with pytest.raises(DownloadError):
            fetch([url], tmp_path / "x", Digest(), part=tmp_path / "part")
    assert time.monotonic() - began < 2 * patience.PATIENCE_S + 1.0


@pytest.mark.slow
def test_every_kind_is_given_up_within_two_minutes(tmp_path, monkeypatch):
    """With the limits as they are; all kinds at the same time."""
    monkeypatch.setattr(patience, "TIMEOUT_S", 30.0)
    monkeypatch.setattr(FETCH, "_FIRST_WAIT_S", 0.5)

    def one(kind):
        (tmp_path / kind).mkdir()
        return kind, *_seconds_until_refused(kind, tmp_path / kind)

    with ThreadPoolExecutor(len(KINDS)) as pool:
        for kind, seconds, why in pool.map(one, KINDS):
            print(f"{kind}: {seconds:.1f} s, {why.partition(' ')[2]}")
            assert seconds < (2 if kind == "fast_then_silent" else 1) * patience.PATIENCE_S + 5, (
                kind
            )
