"""The command line: `python -m shared COMMAND`, for people on a terminal and, with `--json`, for machines."""
