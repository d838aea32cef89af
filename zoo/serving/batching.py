"""Requests that arrive together are computed together."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class BusyError(RuntimeError):
    """More is waiting than the queue holds."""


class Batcher(Generic[Item, Answer]):
    """Answers single items by batches, in the order of their arrival.

      async with Batcher(double_all) as batcher:
          await batcher.answer(3)

    The first item that waits opens a batch; it is computed when it is full, or `seconds` later, in
    a thread of its own, while the next one fills.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        size: int = 32,
        seconds: float = 0.005,
        waiting: int = 1024,
    ):
        self._compute, self._size, self._seconds = compute, size, seconds
        self._queue: asyncio.Queue[tuple[Item, asyncio.Future[Answer]]] = asyncio.Queue(waiting)
        self._thread = ThreadPoolExecutor(1, "batches")
        self._task: asyncio.Task[None] | None = None
        self.batches = 0

    async def __aenter__(self) -> "Batcher[Item, Answer]":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(cancel_futures=True)

    async def answer(self, item: Item) -> Answer:
        """What `compute` says to `item`.

        Raises:
          BusyError: the queue is full.
          Exception: what `compute` raised for the batch.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((item, future))
        except asyncio.QueueFull:
            raise BusyError(f"{self._queue.maxsize} pictures are waiting; try again") from None
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next()
            self.batches += 1
            try:
                items = [item for item, _ in batch]
                answers = await loop.run_in_executor(self._thread, self._compute, items)
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():  # its client may have gone
                        future.set_result(answer)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    async def _next(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        """The items of one batch."""
        batch = [await self._queue.get()]
        end = asyncio.get_running_loop().time() + self._seconds
        while len(batch) < self._size:
            left = end - asyncio.get_running_loop().time()
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), max(left, 0)))
            except TimeoutError:
                break
        return batch
