"""Measure the start of the command line: CPU seconds and memory of commands that compute nothing.

    python scripts/tables/startup.py --runs 5
    python scripts/tables/startup.py --runs 5 --fill data/samples/girl.png --mask mask.png

Prints a table in Markdown. Each command runs in a process of its own; the numbers are medians. With
``--fill`` it prints instead how the wall time of ``diffprior inpaint`` is spent on that image:
in the network, in the import of torch, and in all else.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
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
    parser.add_argument("--fill", type=Path, help="Image to fill.")
    parser.add_argument("--mask", type=Path, help="Mask of that image.")
    parser.add_argument("commands", nargs="*", default=COMMANDS, help="Commands to measure.")
    arguments = parser.parse_args()
    if arguments.fill is not None:
        if arguments.mask is None:
            parser.error("--fill needs --mask")
        print(fill_table(arguments.fill, arguments.mask, arguments.runs))
        return
    print("| command | CPU seconds | MB |")
    print("|---|---|---|")
    for command in arguments.commands:
        costs = [measure(command) for _ in range(arguments.runs)]
        seconds = statistics.median(cost.seconds for cost in costs)
        megabytes = statistics.median(cost.megabytes for cost in costs)
        print(f"| `diffprior {command}` | {seconds:.2f} | {megabytes:.0f} |", flush=True)


def fill_table(image: Path, mask: Path, runs: int) -> str:
    """Return where the wall time of a fill goes, as medians, in Markdown."""
    spans = [(*fill(image, mask), wall("-c", "import torch")) for _ in range(runs)]
    total, network, torch = (statistics.median(column) for column in zip(*spans, strict=True))
    parts = {
        "network": network,
        "import of torch": torch,
        "all else": total - network - torch,
        "total": total,
    }
    rows = [
        f"| {name} | {seconds:.2f} | {seconds / total:.0%} |" for name, seconds in parts.items()
    ]
    return "\n".join(["| part | seconds | share |", "|---|---|---|", *rows])


def fill(image: Path, mask: Path) -> tuple[float, float]:
    """Return the wall time of ``diffprior inpaint`` and the part of it in the network."""
    with tempfile.TemporaryDirectory() as folder:
        call = ["inpaint", "--mask", str(mask), str(image), "-o", f"{folder}/a.png", "-q", "--json"]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "diffprior", *call], check=True, capture_output=True, text=True
        )
        return time.perf_counter() - start, float(json.loads(done.stdout)["network_seconds"])


def wall(*arguments: str) -> float:
    """Return the wall time of a run of Python."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True)
    return time.perf_counter() - start


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
