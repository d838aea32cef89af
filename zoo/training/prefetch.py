"""The next batches, prepared by a thread while the device works on this one."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")

_END = object()
_POLL_S = 0.1


@contextlib.contextmanager
def prefetched(items: Iterator[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """Runs `items` in a thread, at most `depth` ahead; an exception in it is raised by `next`.

      with prefetched(pipeline.batches()) as batches:
          batch = next(batches)

    The thread ends with the block.
    """
    ready: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(value: object, error: BaseException | None = None) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put((value, error), timeout=_POLL_S)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        # The top of a thread: whatever it was, `next` raises it to the caller.
        except Exception as error:
            put(_END, error)

    def taken() -> Iterator[T]:
        while True:
            value, error = ready.get()
            if error is not None:
                raise error
            if value is _END:
                return
            yield value  # pyrefly: ignore[invalid-yield] everything but _END is an item

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()
        if isinstance(items, Generator):
            items.close()  # ends worker processes now, not at some garbage collection
