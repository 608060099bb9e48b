"""`python -m infra.local`: the laptop's Azure, whole or in parts."""

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "demo": ("infra.local.demo", "emulator, simulator and host together, from a seed to a proven day"),
    "start": ("infra.local.start", "the emulator and the functions, for `make start`"),
    "azurite": ("infra.local.azurite", "the storage emulator, on free ports"),
    "simulator": ("infra.local.simulator", "the cost API with a synthetic tenant"),
    "host": ("infra.local.host", "the function host, on the environment and local.settings.json"),
}
"""Each command's module, imported when it runs (the parts are heavy), and what it is."""


def main(argv: Sequence[str]) -> int:
    """Run one command; what follows its name is given to its module's `main`."""
    commands = "\n".join(f"  {name:10} {text}" for name, (_, text) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m infra.local",
        description=f"{__doc__}\n\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the command; COMMAND --help names them")
    chosen = parser.parse_args(argv)
    module, _ = COMMANDS[chosen.command]
    return int(importlib.import_module(module).main(chosen.options) or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
