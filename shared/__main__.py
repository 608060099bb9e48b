"""`python -m shared`: the command line of Cost Ledger."""

import sys

from shared.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
