"""The program: `kintsugi`, or `python -m kintsugi`. Ctrl-C is answered while the rest is still loading."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
"""The exit code of what Ctrl-C has ended, by the custom of shells."""


def main() -> None:
    """Load the command line and run it.

    After Ctrl-C, which may fall into the middle of anything, the process leaves at once: Python and the libraries would
    still take themselves apart, and what was interrupted in them can crash there.
    """
    try:
        from kintsugi.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
    else:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
