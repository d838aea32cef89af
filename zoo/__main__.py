"""The command `zoo`, which `python -m zoo` is too."""

import sys


def main() -> int:
    """Runs the command line of this process."""
    try:
        from zoo.cli import main as run
        from zoo.common.console import quiet_pipe

        return quiet_pipe(run)
    except KeyboardInterrupt:  # while it was imported
        print("zoo: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
