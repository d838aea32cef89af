"""What can go wrong between processes, by what to do about it."""

RESTART = 75
"""Exit code that asks for the same command once more (EX_TEMPFAIL of sysexits.h)."""

# Texts in the exceptions of JAX's ways to reach other processes.
_MARKS = ("gloo", "nccl", "coordination service", "coordinationservice", "heartbeat")


class LaunchError(ValueError):
    """The environment does not say which processes form the run."""


class ProcessesDifferError(ValueError):
    """The processes of a run were not started alike.

    Attributes:
      together: all processes raise it.
    """

    together = True


class FirstProcessError(ValueError):
    """What process 0 alone does for all has failed; all processes raise its message.

    Attributes:
      exit_code: of the command line.
      together: all processes raise it.
    """

    together = True

    def __init__(self, message: str, exit_code: int | None = None):
        super().__init__(message)
        self.exit_code = exit_code


class LostProcessError(RuntimeError):
    """Another process of the run is gone; start the same command on all of them again."""

    exit_code = RESTART


def lost_process(error: BaseException, name: str = "this process") -> LostProcessError | None:
    """The error to raise instead, where `error` comes from losing another process.

    Args:
      error: what was raised.
      name: of this process, in words.
    """
    link: BaseException | None = error
    while link is not None:
        text = " ".join(str(link).split())
        if any(mark in text.lower() for mark in _MARKS):
            return LostProcessError(f"{name}: {lost_sentence()} ({text[:120]})")
        link = link.__cause__ or link.__context__
    return None


def lost_sentence() -> str:
    """What to tell when another process is gone."""
    return (
        "another process of this run is lost and its own output says why; start the same command "
        "on all of them again, training goes on from the last checkpoint"
    )
