"""The HTTP of `zoo serve`: what is asked where, and how mistakes are answered.

POST /predict?top=5   the bytes of one picture -> {"class", "name", "index", "probability", "top"}
GET  /healthz         {"status", "model", "answered", "refused", "batches"}
GET  /                a page to drop a picture on
"""

import asyncio
import contextlib
import dataclasses
import functools
import html
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zoo.data import BadImageError
from zoo.serving.answering import SIZES, Answering
from zoo.serving.batching import Batcher, BusyError
from zoo.serving.page import PAGE

_TOP = 5


class MissingServerError(ValueError):
    """The libraries that speak HTTP are not installed."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
      bytes: of one picture. Its pixels and the time to decode it are bounded as everywhere.
      seconds: until it has arrived.
      connections: at the same time; more are answered by 503.
    """

    bytes: int = 10_000_000
    seconds: float = 10.0
    connections: int = 512


class _RefusedError(Exception):
    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def application(answering: Answering, limits: Limits = Limits()) -> Any:
    """The ASGI application, for any server of such.

    Raises:
      MissingServerError: Starlette is not installed.
    """
    try:
        # pyrefly: ignore[missing-import] an extra, so it may be absent
        from starlette.applications import Starlette

        # pyrefly: ignore[missing-import]
        from starlette.requests import ClientDisconnect

        # pyrefly: ignore[missing-import]
        from starlette.responses import HTMLResponse, JSONResponse

        # pyrefly: ignore[missing-import]
        from starlette.routing import Route
    except ImportError:
        raise MissingServerError(
            "serving needs starlette and uvicorn; install them: pip install "
            "'flax-vanilla-zoo[serve]'"
        ) from None
    service = _Service(answering, limits)

    async def predict(request: Any) -> Any:
        try:
            return JSONResponse(await service.predict(request))
        except _RefusedError as refused:
            service.refused += 1
            return JSONResponse({"error": str(refused)}, refused.status)
        except ClientDisconnect:
            service.refused += 1
            return JSONResponse({"error": "the picture did not arrive whole"}, 400)

    async def healthz(request: Any) -> Any:
        return JSONResponse(service.state())

    async def page(request: Any) -> Any:
        return HTMLResponse(PAGE.replace("MODEL", html.escape(answering.model.provenance.name)))

    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/healthz", healthz),
        Route("/", page),
    ]
    return Starlette(routes=routes, lifespan=service.running)


class _Service:
    """What lives as long as the server."""

    def __init__(self, answering: Answering, limits: Limits):
        self.answering, self.limits = answering, limits
        self.answered = self.refused = 0
        self.batcher: Batcher[Any, Any] | None = None
        # Few at a time: a picture of 50 megapixels is large while it is decoded.
        self.decoders = ThreadPoolExecutor(os.cpu_count(), "decoding")

    @contextlib.asynccontextmanager
    async def running(self, _: Any) -> AsyncIterator[None]:
        async with Batcher(self.answering.probabilities, size=SIZES[-1]) as self.batcher:
            yield
        self.decoders.shutdown(cancel_futures=True)

    def state(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "model": self.answering.model.provenance.name,
            "answered": self.answered,
            "refused": self.refused,
            "batches": self.batcher.batches if self.batcher else 0,
        }

    async def predict(self, request: Any) -> dict[str, Any]:
        assert self.batcher is not None
        top = request.query_params.get("top", str(_TOP))
        # Short first: Python refuses to read a number of thousands of digits.
        if not (top.isascii() and top.isdigit() and len(top) <= 4 and 0 < int(top) <= 1000):
            raise _RefusedError(400, f"top={top[:20]!r}; give a whole number from 1 to 1000")
        picture = await self._body(request)
        loop = asyncio.get_running_loop()
        try:
            image = await loop.run_in_executor(self.decoders, self.answering.read, picture)
            row = await self.batcher.answer(image)
        except BadImageError as error:
            raise _RefusedError(400, str(error)) from None
        except BusyError as error:
            raise _RefusedError(503, str(error)) from None
        self.answered += 1
        return self.answering.answer(row, int(top))

    async def _body(self, request: Any) -> bytes:
        """The picture, while it is small enough and comes fast enough."""
        limits = self.limits
        too_large = f"a picture may have {limits.bytes:,} bytes; send a smaller one"
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > limits.bytes:
            raise _RefusedError(413, too_large)
        parts, size = [], 0
        try:
            async with asyncio.timeout(limits.seconds):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > limits.bytes:
                        raise _RefusedError(413, too_large)
        except TimeoutError:
            raise _RefusedError(
                408, f"the picture did not arrive within {limits.seconds:g} s; send it again"
            ) from None
        if not size:
            raise _RefusedError(400, "the body is empty; send the bytes of a picture")
        return b"".join(parts)


def serve(answering: Answering, host: str, port: int, limits: Limits = Limits()) -> None:
    """Serves until SIGINT or SIGTERM; requests that have begun are answered first.

    Raises:
      MissingServerError: Starlette or uvicorn is not installed.
    """
    app = application(answering, limits)
    try:
        # pyrefly: ignore[missing-import] an extra, so it may be absent
        import uvicorn
    except ImportError:
        raise MissingServerError(
            "serving needs uvicorn; install it: pip install 'flax-vanilla-zoo[serve]'"
        ) from None
    run = functools.partial(uvicorn.run, app, host=host, port=port, log_level="warning")
    run(
        limit_concurrency=limits.connections,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
    )
