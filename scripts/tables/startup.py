"""Measure the start of the command line: CPU seconds and memory of commands that compute nothing.

    python scripts/tables/startup.py --runs 5

Prints a table in Markdown. Each command runs in a process of its own; the numbers are medians.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
from typing import NamedTuple

COMMANDS = (
    "--help",
    "--version",
    "methods",
    "samplers",
    "inversions",
    "attentions",
    "operators",
    "priors",
    "recipes",
    "tasks",
    "inpaint --help",
    "edit --help",
)


class Cost(NamedTuple):
    """What a process used: CPU seconds, user and system, and the peak of its memory in MB."""

    seconds: float
    megabytes: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="Runs of each command; default 5.")
    parser.add_argument("commands", nargs="*", default=COMMANDS, help="Commands to measure.")
    arguments = parser.parse_args()
    print("| command | CPU seconds | MB |")
    print("|---|---|---|")
    for command in arguments.commands:
        costs = [measure(command) for _ in range(arguments.runs)]
        seconds = statistics.median(cost.seconds for cost in costs)
        megabytes = statistics.median(cost.megabytes for cost in costs)
        print(f"| `diffprior {command}` | {seconds:.2f} | {megabytes:.0f} |", flush=True)


def measure(command: str) -> Cost:
    """Return the cost of one run of a command."""
    call = [sys.executable, "-m", "diffprior", *shlex.split(command)]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"diffprior {command} ended with code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


if __name__ == "__main__":
    main()
