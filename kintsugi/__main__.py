"""The program: `kintsugi`, or `python -m kintsugi`. Ctrl-C is answered while the rest is still loading."""

from __future__ import annotations

import sys


def main() -> None:
    """Load the command line and run it."""
    try:
        from kintsugi.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
