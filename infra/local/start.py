"""`make start`: the storage emulator, and beside it the functions.

They run under `func start` where Azure Functions Core Tools are installed, else under the laptop's own host.
The cost API is whatever `ARM_ENDPOINT` says: Azure by default, where you must be signed in, or a simulator.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local import host
from infra.local.azurite import AzuriteError, start
from infra.local.host.settings import local_values
from shared.settings import SettingsError, load

ROOT = Path(__file__).parents[2]
_DATA = ROOT / ".local" / "azurite"


def main(argv: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; 1 and what is wrong with the settings where they cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m infra.local start", description=__doc__)
    parser.add_argument("--location", type=Path, default=_DATA, help="where the emulator keeps its data")
    options = parser.parse_args(argv)
    try:
        # Before anything runs: a host would say it only when the first function fails.
        load({**local_values(ROOT), **os.environ})
        options.location.mkdir(parents=True, exist_ok=True)
        with start(options.location) as storage:
            os.environ.update(AzureWebJobsStorage=storage.connection_string)
            return _functions()
    except (AzuriteError, SettingsError, host.HostError) as error:
        print(f"start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def core_tools_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment that `func start` finds the project's packages in.

    Core Tools take the first python on the PATH, and ask for the language where no setting names it.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")])
    return {**environ, "PATH": path, "FUNCTIONS_WORKER_RUNTIME": "python"}


def _functions() -> int:
    func = shutil.which("func")
    if func is None:
        return host.main(["--app", str(ROOT)])
    environ = core_tools_environment(os.environ)
    return subprocess.run([func, "start"], cwd=ROOT, env=environ, check=False).returncode
