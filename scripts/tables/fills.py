"""Fill holes with the programs that the benchmark of wide holes compares, one process a fill."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import NamedTuple

import cv2
import numpy as np
from holes import Case

__all__ = ["METHODS", "OURS", "PEERS", "Cost", "Filler"]

OURS = {  # options of diffprior inpaint
    "default": (),
    "smooth": ("--fill", "smooth"),
    "structure": ("--fill", "structure"),
    "texture": ("--fill", "texture"),
}
PEERS = ("gmic", "shiftmap")  # those that our default is to be better than
METHODS = (*OURS, *PEERS, "telea", "navier-stokes", "biharmonic", "fsr")
SEED = ("-srand", "0")  # of G'MIC, whose fills differ by chance
MATCHPATCH = ("-inpaint_matchpatch[0]", "[1],0,9,10,5,1,0")
SCRIPT = Path(__file__).parents[1] / "peers" / "opencv_fill.py"
WATCHER = Path(__file__).parent / "watcher.py"


class Cost(NamedTuple):
    """What a process used: wall seconds, and the peak of its memory in MB."""

    seconds: float
    megabytes: float


class Filler:
    """Fills holes, and keeps the results in a folder.

    Arguments:
        out: The folder. It receives ``cases`` and ``fills``.
        xphoto_python: A Python with opencv-contrib-python.
        patience: Seconds that a fill may take.
    """

    def __init__(self, out: Path, xphoto_python: str, patience: float = 600.0) -> None:
        self.out = out
        self.xphoto_python = xphoto_python
        self.patience = patience
        self.missing: set[str] = set()

    def path(self, case: Case, method: str) -> Path:
        """Return the file of a fill."""
        return self.out / "fills" / case.group / f"{case.name}.{method}.png"

    def fill(self, case: Case, method: str) -> Cost | None:
        """Fill a hole; None, with one line, where the program is missing or fails."""
        if method in self.missing:
            return None
        image, mask = self._write(case)
        path = self.path(case, method)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if method == "gmic" and which("gmic") is None:
            self._leave_out(method, "there is no program gmic (Debian package gmic)")
            return None
        call = self.command(method, str(image), str(mask), str(path))
        cost, complaint = watch(call, self.patience)
        if path.exists() and not complaint:
            return cost
        if cost.seconds < self.patience:
            self._leave_out(method, complaint or "no image was written")
        else:
            print(f"{case.group} {case.name}, {method}: n/a: {complaint}", flush=True)
        return None

    def command(self, method: str, image: str, mask: str, out: str) -> list[str]:
        """Return the command of a fill."""
        if method in OURS:
            options = ("--mask", mask, image, "-o", out, "--quiet", *OURS[method])
            return [sys.executable, "-m", "diffprior", "inpaint", *options]
        if method == "gmic":
            return ["gmic", *SEED, image, mask, *MATCHPATCH, "-o[0]", out]
        python = self.xphoto_python if method in ("shiftmap", "fsr") else sys.executable
        return [python, str(SCRIPT), method, image, mask, out]

    def _write(self, case: Case) -> tuple[Path, Path]:
        """Write the image, gray under its hole, and the mask."""
        folder = self.out / "cases" / case.group
        folder.mkdir(parents=True, exist_ok=True)
        image, mask = folder / f"{case.name}.png", folder / f"{case.name}.mask.png"
        if not mask.exists():
            lost = np.where(case.hole[..., None], 128, case.image).astype(np.uint8)
            cv2.imwrite(str(image), lost[..., ::-1])
            cv2.imwrite(str(mask), np.where(case.hole, 255, 0).astype(np.uint8))
        return image, mask

    def _leave_out(self, method: str, reason: str) -> None:
        """Say why a method has no results, and try it no more."""
        self.missing.add(method)
        print(f"{method}: n/a: {reason}", flush=True)


def watch(call: Sequence[str], patience: float) -> tuple[Cost, str]:
    """Run a command; return what it used, and the last line that it said if it failed.

    A process counts the memory of the one that started it, so a small one stands between.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(WATCHER), str(patience), *call],
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        return Cost(0.0, 0.0), (done.stderr.strip().splitlines() or ["it failed"])[-1]
    seconds, megabytes, code, said = json.loads(done.stdout)
    complaint = (said.strip().splitlines() or ["it failed"])[-1] if code else ""
    return Cost(seconds, megabytes), complaint
