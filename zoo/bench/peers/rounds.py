"""A program that is timed in rounds: it waits for a number, makes that many calls, tells the time.

Two of them take turns in this way while both are warm: A B A B. It needs the standard library only,
so that programs of other Pythons import it too.
"""

import functools
import json
import os
import resource
import sys
import time
from collections.abc import Callable


def serve(prepare: Callable[[], tuple[Callable[[], object], dict]]) -> None:
    """Answers each number N on standard input by the seconds of N calls, until the input ends.

    Args:
      prepare: gives what is called (it returns when all is computed) and what is to be known about
        it; it makes the calls that compile something itself.
    """
    out = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # what libraries print is no answer
    say = functools.partial(print, file=out, flush=True)
    call, about = prepare()
    call()
    say(json.dumps(about))
    for number in sys.stdin:
        started = time.perf_counter()
        for _ in range(int(number)):
            call()
        seconds = time.perf_counter() - started
        # Kilobytes on Linux.
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        say(json.dumps({"seconds": seconds, "memory": memory}))
