"""The program: from arguments to an exit code."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence

from shared.cli.arguments import UsageError, parse
from shared.cli.output import SIGNALLED, fault
from shared.edge import utc_now


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and give the program's exit code: 0, 1 or 2 as the help says, or that of a signal.

    Args:
        argv: what follows `python -m shared`; by default the process's own arguments.
        environ: the settings; by default the process's environment.
    """
    try:
        asked = parse(sys.argv[1:] if argv is None else argv, utc_now().date())
        # The engine takes a second to import, which nobody should wait for to be told of a slip of the pen.
        from shared.cli.session import work  # noqa: PLC0415

        return work(asked, os.environ if environ is None else environ)
    except UsageError as error:
        return fault(str(error))
    except KeyboardInterrupt:
        return SIGNALLED + signal.SIGINT
