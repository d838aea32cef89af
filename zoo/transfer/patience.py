"""How long a server is waited for: one measure for names, headers, redirects, bytes and retries.

Libraries bound a single read (requests, httpx and urllib alike), so a server that sends a byte of
a header now and then holds them for ever. Here every read of the socket asks how much is left.
"""

import functools
import http.client
import io
import socket
import time
import urllib.request
from typing import Any

TIMEOUT_S = 30.0  # of a single read, so that a dead connection is tried again
PATIENCE_S = 120.0
SLOWEST_BYTES_PER_S = 1000


class Patience:
    """Seconds that a server may still take: 120, and one more for every 1,000 bytes it sends.

    Never more than 120 are left, so a fast beginning earns no long silence. In all, n bytes take
    at most 120 s + n / (1,000 bytes/s), whatever is done with them on the way.

    Args:
      earns: whether bytes add to it; without, 120 s are all there is.
    """

    def __init__(self, *, earns: bool = True) -> None:
        self._earns = earns
        self._end = time.monotonic() + PATIENCE_S

    @property
    def left_s(self) -> float:
        """Seconds left, at least 0."""
        return max(self._end - time.monotonic(), 0.0)

    @property
    def timeout_s(self) -> float:
        """Of the next read.

        Raises:
          TimeoutError: there is no time for one.
        """
        if not self.left_s:
            raise TimeoutError
        return min(TIMEOUT_S, self.left_s)

    @property
    def complaint(self) -> str:
        """What a read that timed out is a sign of."""
        if self.left_s:
            return f"no answer within {TIMEOUT_S:g} s"
        return f"sends less than {SLOWEST_BYTES_PER_S:,} bytes a second, for {PATIENCE_S:g} s"

    def earn(self, count: int) -> None:
        """`count` bytes of what was asked for have come."""
        if self._earns:
            latest = time.monotonic() + PATIENCE_S
            self._end = min(self._end + count / SLOWEST_BYTES_PER_S, latest)


def opener(patience: Patience) -> urllib.request.OpenerDirector:
    """Opens HTTP and HTTPS addresses, and no others; follows no redirect.

    Proxies are those of the environment; what they answer is waited for no longer.
    """
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _Http(patience),
        _Https(patience),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        director.add_handler(handler)
    return director


class _Http(urllib.request.HTTPHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._patience = patience

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        return super().do_open(functools.partial(_connection, http_class, self._patience), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._patience = patience

    def do_open(self, http_class: Any, req: Any, **options: Any) -> Any:
        kind = functools.partial(_connection, http_class, self._patience)
        return super().do_open(kind, req, **options)


def _connection(kind: Any, patience: Patience, host: str, **options: Any) -> Any:
    connection = kind(host, **options)
    connection.response_class = functools.partial(_Response, patience)
    return connection


class _Response(http.client.HTTPResponse):
    """An answer, of which every read from the socket is bounded: also of a proxy's, and of TLS."""

    def __init__(self, patience: Patience, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_BoundedReads(self.fp.detach(), sock, patience))


class _BoundedReads(io.RawIOBase):
    def __init__(self, raw: Any, sock: socket.socket, patience: Patience) -> None:
        self._raw, self._sock, self._patience = raw, sock, patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._patience.timeout_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
