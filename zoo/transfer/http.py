"""One HTTP request, without trust in the server: where it may lead, what it may send."""

import email.utils
import http.client
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping

from zoo.transfer.hub import TOKEN_VARIABLE, hub_token, is_on_hub
from zoo.transfer.patience import Patience, opener

ATTEMPTS = 5
_CONNECTING_ATTEMPTS = 3
MAX_REDIRECTS = 5
MAX_WAIT_S = 60.0

_BLOCK_BYTES = 1 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)


class TransferProblem(Exception):
    """A request did not give what it should; the text says why in a few words.

    Attributes:
      attempts: how often the same is worth trying in all; 1 is not again.
      wait_s: what the server asked to wait before, or None.
    """

    def __init__(self, reason: str, *, attempts: int = 1, wait_s: float | None = None):
        super().__init__(reason)
        self.attempts = attempts
        self.wait_s = wait_s


def url_problem(url: str) -> str:
    """Why `url` is not fetched, or "": https only, plain http on this machine only."""
    if not url.isprintable() or " " in url or len(url) > 2000:
        return "is not an address"
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not an address"
    if parts.username is not None:
        return "holds a user name; addresses are used without credentials"
    if not host:
        return "names no server"
    if parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK):
        return ""
    return "is not https"


def open_url(
    url: str, headers: Mapping[str, str] | None = None, patience: Patience | None = None
) -> http.client.HTTPResponse:
    """The response to a GET, to be closed; its body is not read yet.

    Args:
      url: address.
      headers: of the request.
      patience: how long the server, and where it redirects to, may still take.

    Raises:
      TransferProblem: for an address that is not allowed, here or in a redirect, a server that is
        not there, too slow or answers with an error, and a body in another encoding than asked for.
    """
    patience = patience or Patience()
    if problem := url_problem(url):
        raise TransferProblem(problem)
    fixed = {"User-Agent": "flax-vanilla-zoo", "Accept-Encoding": "identity"}
    for _ in range(MAX_REDIRECTS + 1):
        request = urllib.request.Request(url, headers={**fixed, **(headers or {})})
        answer = _ask(_with_token(request), patience)
        if isinstance(answer, str):
            url = _allowed_redirect(url, answer)
            continue
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            answer.close()
            raise TransferProblem(f"sent {encoding[:20]!r} encoded bytes, which were not asked for")
        return answer
    raise TransferProblem(f"redirects to {url[:100]!r}, after {MAX_REDIRECTS} other redirects")


def blocks(response: http.client.HTTPResponse, patience: Patience) -> Iterator[bytes]:
    """The body, piece by piece as it arrives.

    Raises:
      TransferProblem: the connection broke, stalled, or is too slow to ever end.
    """
    while True:
        try:
            block = response.read1(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _of_failure(error, patience, ATTEMPTS) from None
        if not block:
            return
        patience.earn(len(block))
        yield block


def _ask(request: urllib.request.Request, patience: Patience) -> http.client.HTTPResponse | str:
    """The response to a request, or where it redirects to; a redirect's body is not read."""
    try:
        return opener(patience).open(request, timeout=patience.timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            target = error.headers.get("Location")
            if error.code in _REDIRECTS and target:
                return target
            raise _of_status(error) from None
    except (OSError, http.client.HTTPException) as error:
        raise _of_failure(error, patience, _CONNECTING_ATTEMPTS) from None


def _allowed_redirect(url: str, target: str) -> str:
    """Where a redirect leads; never where one would not go directly, nor from https to http."""
    target = urllib.parse.quote(target, safe=string.punctuation)
    new = urllib.parse.urljoin(url, target)
    problem = url_problem(new)
    if not problem and url.startswith("https:") and not new.startswith("https:"):
        problem = "is not https"
    if problem:
        raise TransferProblem(f"redirects to {new[:100]!r}, which {problem}")
    return new


def _with_token(request: urllib.request.Request) -> urllib.request.Request:
    """The same request; to the hub with the user's token, which goes to no other server."""
    token = hub_token() if is_on_hub(request.full_url) else None
    if token is not None and token.isascii() and token.isprintable():
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _of_status(error: urllib.error.HTTPError) -> TransferProblem:
    code = error.code
    if 300 <= code < 400:
        target = error.headers.get("Location", "")[:100]
        return TransferProblem(f"redirects to {target!r}, which is not followed")
    name = http.client.responses.get(code, "unknown status")
    again = ATTEMPTS if code in _WORTH_ANOTHER_TRY else 2 if code == 416 else 1
    wait_s = _retry_after(error.headers.get("Retry-After"))
    private = code in (401, 403) and is_on_hub(error.url)
    advice = f" (a private repository? set {TOKEN_VARIABLE} to a token that may read it)"
    return TransferProblem(f"{code} {name}{advice * private}", attempts=again, wait_s=wait_s)


def _of_failure(error: BaseException, patience: Patience, attempts: int) -> TransferProblem:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return TransferProblem(patience.complaint, attempts=attempts)
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return TransferProblem(f"connection failed ({text})", attempts=attempts)


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    if value.isdecimal():
        return min(float(value), MAX_WAIT_S)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return min(max(then - time.time(), 0.0), MAX_WAIT_S)
