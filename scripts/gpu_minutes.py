"""Use a few minutes of a GPU well: the tests of CUDA, the speed, and training of the default prior.

    python scripts/gpu_minutes.py photos.zip --out runs/gpu --minutes 9

The parts run in this order, each as a process with a time limit of its own: a part that hangs, or
has no memory, does not take the time of the next one. What they find is written as it is found:

- OUT/results.jsonl has a line for each test, each time and each validation,
- OUT/results.md has the same as tables,
- OUT/run/weights is the model folder of the training, OUT/run/curve.csv its validation table and
  OUT/run/checkpoint.pt its state, from which the same command goes on: anew every minute.

Training gets all the minutes that the other two leave. ``--smoke`` does all of it on a CPU within
seconds, with networks that learn nothing, and the tests of noise in the place of those of CUDA. A
library that is not installed costs the rows that need it, and one line that says so. docs/gpu.md
has what to expect of an H100.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import diffprior
from diffprior.catalog import shipped_priors
from diffprior.cli.scripts import run
from diffprior.networks.nafunet import NAFUNet, deepened, load_network
from diffprior.priors.base import Prior
from diffprior.priors.half import HalfPrior
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.runtime.placement import device_of
from diffprior.training.commands import weights_of

ROOT = Path(__file__).parents[1]
LIMITS = {"tests": 90.0, "speed": 60.0}  # seconds; training has the rest
BLOCKS = (2, 4, 4, 4)  # of each level, for so many crops: docs/gpu.md
T = torch.tensor(0.3, dtype=torch.float64)
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What the parts are told.

    Arguments:
        photographs: ZIP files or folders of photographs.
        out: Folder of all that is written.
        init: A shipped prior, or a model folder, whose weights the training starts from.
        weights: How often a source of photographs is drawn.
        seconds: Time of the part.
        smoke: Whether all is tiny, and on a CPU.
    """

    photographs: list[Path]
    out: Path
    init: str
    weights: dict[str, float]
    seconds: float
    smoke: bool

    @property
    def device(self) -> torch.device:
        """The device of the parts."""
        return torch.device("cpu") if self.smoke else device_of(None)

    def write(self, part: str, **row: Any) -> None:
        """Add a line to the results, and write the tables anew."""
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "results.jsonl").open("a") as file:
            file.write(json.dumps({"part": part, **row}) + "\n")
        print(part, *(f"{k}={v}" for k, v in row.items()), flush=True)
        (self.out / "results.md").write_text(tables(self.rows()))

    def rows(self) -> list[Row]:
        """Return the results that were written."""
        text = (self.out / "results.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


def tables(rows: list[Row]) -> str:
    """Return the results as markdown, a table for each part and each kind of row."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["part"], *(k for k in row if k != "part")), []).append(row)
    texts = []
    for (part, *head), found in groups.items():
        lines = [head, ["---"] * len(head)]
        lines += [[str(row[name]) for name in head] for row in found]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        texts.append(f"## {part}\n\n{table}\n")
    return "\n".join(texts)


# Tests


@dataclass
class Reporter:
    """A plug-in of pytest that writes the outcome of each test as it ends."""

    plan: Plan

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write what a test came to."""
        if report.when == "call" or report.outcome != "passed":
            name = report.nodeid.rpartition("::")[2]
            why = str(report.longrepr).strip().splitlines()[-1:] if report.failed else []
            seconds = round(report.duration, 2)
            self.plan.write(
                "tests", test=name, outcome=report.outcome, seconds=seconds, why=" ".join(why)[:200]
            )


def test_part(plan: Plan) -> None:
    """Run the tests that need a GPU, and write the outcome of each as it ends."""
    import pytest

    file = "core/test_random.py" if plan.smoke else "devices/test_on_cuda.py"
    options = ["-p", "no:cacheprovider", "--tb=short", "--rootdir", str(ROOT)]
    pytest.main([str(ROOT / "tests" / file), *options], plugins=[Reporter(plan)])


# Speed


@dataclass
class Speed:
    """The times of one device, each in seconds, as a share of those of the bare network."""

    plan: Plan
    until: float  # of the clock

    @property
    def enough(self) -> bool:
        """Whether no time is left for another row."""
        return time.monotonic() > self.until

    def time(self, work: Callable[[], Any]) -> float:
        """Return the median seconds of a piece of work, after a warm-up."""
        seconds = []
        for _ in range(2 if self.plan.smoke else 6):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - start)
        return median(seconds[1:])

    def wait(self) -> None:
        """Wait until the device has done its work."""
        if self.plan.device.type != "cpu":
            torch.accelerator.synchronize()

    def row(self, what: str, size: str, base: float, work: Callable[[], Any], n: int = 1) -> None:
        """Write the time of a piece of work of ``n`` calls, unless there is no time left."""
        if self.enough:
            return
        try:
            seconds = self.time(work) / n
        except Exception as error:  # what a device cannot do is a row, too
            self.plan.write("speed", size=size, what=what, ms="-", ratio=str(error)[:80])
            return
        ratio = round(seconds / base, 2)
        self.plan.write("speed", size=size, what=what, ms=round(1e3 * seconds, 2), ratio=ratio)


def speed_part(plan: Plan) -> None:
    """Time one denoising call, the default fill and the peers, at several sizes."""
    speed = Speed(plan, time.monotonic() + plan.seconds)
    cases = [(1, 32)] if plan.smoke else [(1, 256), (1, 512), (8, 256), (8, 512), (1, 1024)]
    with torch.no_grad():
        for batch, side in cases:
            size_rows(speed, batch, side)
        noise_rows(speed)
        for batch, side in cases:  # last, as it takes long to compile
            compiled_rows(speed, batch, side)


def prior_of(plan: Plan, side: int) -> Prior:
    """Return the default prior for images of a size, in float32."""
    prior = small() if plan.smoke else diffprior.load_prior()
    return prior.for_shape((3, side, side)).to(plan.device)


def small() -> NetworkPrior:
    """Return a network that takes no time."""
    return NetworkPrior.of(tiny())


def tiny() -> NAFUNet:
    """Return the network of it, to train."""
    return NAFUNet((8, 16), (1, 1), embedding=16)


def network_of(prior: Prior) -> NAFUNet:
    """Return the network inside a prior."""
    inner = prior.innermost
    assert isinstance(inner, NetworkPrior) and isinstance(inner.network, NAFUNet)
    return inner.network


def bare_seconds(speed: Speed, batch: int, side: int) -> float:
    """Return the seconds of the bare network: bfloat16, channels last, in a CUDA graph."""
    device = speed.plan.device
    network = network_of(prior_of(speed.plan, side)).to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, side, side, device=device)
    levels = torch.zeros(batch, device=device)

    def call() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            out: Tensor = network(x, levels)
        return out

    return speed.time(captured(call, device))


def captured(call: Callable[[], Tensor], device: torch.device) -> Callable[[], Any]:
    """Return a call that replays a graph of its kernels; on a CPU the call itself."""
    if device.type != "cuda":
        return call
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def size_rows(speed: Speed, batch: int, side: int) -> None:
    """Write the rows of one size, but those that compile."""
    if speed.enough:
        return
    plan, size = speed.plan, f"{batch} x {side}"
    base = bare_seconds(speed, batch, side)
    plan.write("speed", size=size, what="bare network, CUDA graph", ms=1e3 * base, ratio=1.0)
    x = torch.randn(batch, 3, side, side).to(plan.device)
    prior = prior_of(plan, side)
    half = HalfPrior(prior)
    speed.row("call, float32", size, base, lambda: prior(x, T))
    last = prior_of(plan, side)
    network_of(last).to(memory_format=torch.channels_last)
    speed.row("call, float32, channels last", size, base, lambda: last(x, T))
    speed.row("call, bfloat16", size, base, lambda: half(x, T))
    last_half = HalfPrior(last)
    speed.row("call, bfloat16, channels last", size, base, lambda: last_half(x, T))
    if plan.device.type == "cuda":
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            graph = captured(lambda: prior(x, T), plan.device)
        speed.row("call, bfloat16, CUDA graph", size, base, graph)
    image = torch.rand(batch, 3, side, side)
    hole = (torch.rand(side, side) > 0.5).float()
    fill = diffprior.inpaint(image, hole, prior=prior)
    calls = fill.report["network_calls"] // batch
    name = f"default fill, each of its {calls} calls"
    speed.row(name, size, base, lambda: diffprior.inpaint(image, hole, prior=prior), calls)
    if plan.smoke:  # to import the peers takes longer than all the rest
        return
    try:
        peer_rows(speed, size, base, prior, x)
    except Exception as error:  # of a version of them that has changed
        plan.write("speed", size=size, what="peers", ms="-", ratio=str(error)[:80])


def peer_rows(speed: Speed, size: str, base: float, prior: Prior, x: Tensor) -> None:
    """Write the rows of other libraries with this prior, where they are installed."""
    steps = 10
    ours = diffprior.catalog.build(f"ddim(steps={steps})", ("samplers",))
    noise = Noise(0, range(len(x)))
    speed.row("our DDIM, each step", size, base, lambda: ours(prior, x, noise), steps)
    for peer in ("azula", "deepinv"):
        if find_spec(peer) is None:
            speed.plan.write("speed", size=size, what=peer, ms="-", ratio="not installed")
    sys.path.insert(0, str(ROOT / "scripts" / "peers"))
    if find_spec("azula") is not None:
        from azula.sample import DDIMSampler
        from azula_peers import AzulaDenoiser

        sampler = DDIMSampler(AzulaDenoiser(prior), steps=steps, silent=True)
        start = x.flatten(1)
        speed.row("azula's DDIM, each step", size, base, lambda: sampler(start), steps)
    if find_spec("deepinv") is not None:
        from diffprior.interop.deepinv import DeepinvDenoiser

        denoiser = DeepinvDenoiser(prior)
        speed.row("deepinv's denoiser of it, a call", size, base, lambda: denoiser(x, 0.2))


def noise_rows(speed: Speed) -> None:
    """Write how long a draw of noise takes, and how long the host waits for one."""
    device = speed.plan.device
    side = 32 if speed.plan.smoke else 512
    like = torch.empty(8, 3, side, side, device=device)
    host = torch.empty(8, 3, side, side)
    plain, ahead = Noise(0, range(8)), Noise(0, range(8))
    once = speed.time(lambda: plain.normal(host))
    size = f"8 x {side}"
    speed.row("a draw of noise on the CPU", size, once, lambda: plain.normal(host))
    speed.row("a draw of noise for the device", size, once, lambda: ahead.normal(like))

    def spaced() -> None:  # as a chain draws: after a call that takes as long as a draw
        time.sleep(once)
        ahead.normal(like)

    speed.row("a draw and a call as long as one", size, 2 * once, spaced)


def compiled_rows(speed: Speed, batch: int, side: int) -> None:
    """Write the rows of a compiled network, and the seconds of its compilation."""
    if speed.enough or speed.plan.smoke:
        return
    size = f"{batch} x {side}"
    base = bare_seconds(speed, batch, side)
    prior = prior_of(speed.plan, side)
    network_of(prior).compile()
    half = HalfPrior(prior)
    x = torch.randn(batch, 3, side, side, device=speed.plan.device)
    start = time.perf_counter()
    speed.row("call, bfloat16, compiled", size, base, lambda: half(x, T))
    seconds = round(time.perf_counter() - start, 1)
    speed.plan.write("speed", size=size, what="its compilation, s", ms="-", ratio=seconds)


# Training


def train_part(plan: Plan) -> None:
    """Train the default prior for the time of the plan, from its weights or its checkpoint."""
    from diffprior.training.hole_validation import HoleValidation
    from diffprior.training.photographs import Photographs
    from diffprior.training.trainer import Trainer

    begin = time.monotonic()
    held_out = 4 if plan.smoke else 60
    images = Photographs(plan.photographs, held_out=held_out, weights=plan.weights)
    trainer = Trainer(
        starting(plan), images, settings(plan), plan.out / "run", device=str(plan.device)
    )
    resumed = trainer.resume()
    measure = HoleValidation(images.validation, 0 if plan.smoke else 4, str(plan.device))
    start = time.monotonic()
    trainer.record(measure)
    each = time.monotonic() - start  # seconds of a validation
    if plan.device.type == "cuda":
        trainer.network.compile()
    trainer.train_step(0.0)  # it compiles, which takes longer than a thousand steps
    first, seconds, config = trainer.step, trainer.seconds, trainer.config

    written = 0

    def tell(trainer: Trainer, share: float) -> None:
        nonlocal written
        for row in trainer.curve[written:]:
            crops = (trainer.step - first) * config.batch * (config.patch / 64) ** 2
            rate = round(crops / max(trainer.seconds - seconds, 1e-9), 1)
            plan.write("training", **row, crops_a_second=rate)
        written = len(trainer.curve)

    plan.write("training", resumed=resumed, parameters=count(trainer.network), start=first)
    every = 60.0 if plan.seconds > 120 else plan.seconds / 2
    left = plan.seconds - (time.monotonic() - begin)
    left -= each * (left / every + 3)
    minutes = (seconds + (1.0 if plan.smoke else max(left, 1.0))) / 60
    trainer.run(minutes=minutes, every=every / 60, callback=tell, measure=measure)
    tell(trainer, 1.0)


def count(network: torch.nn.Module) -> int:
    """Return how many parameters a network has."""
    return sum(p.numel() for p in network.parameters())


def starting(plan: Plan) -> NAFUNet:
    """Return the network to train: with the weights of a prior, and with more blocks."""
    if plan.smoke:
        return tiny()
    network = load_network(shipped_priors().get(plan.init, Path(plan.init)))
    blocks = [max(n, m) for n, m in zip(BLOCKS, network.settings["blocks"], strict=True)]
    return deepened(network, blocks)


def settings(plan: Plan) -> Any:
    """Return the settings of the training, which suit the device."""
    from diffprior.training.trainer import TrainingConfig

    if plan.smoke:
        return TrainingConfig(batch=4, patch=16, late_patch=32, warmup=2)
    if plan.device.type != "cuda":
        return TrainingConfig()
    # as many pixels as 512 crops of 64; of one size all along, as each is compiled anew
    return TrainingConfig(batch=128, patch=128, late_patch=128, warmup=100)


# All of it

PARTS = {"tests": test_part, "speed": speed_part, "training": train_part}


def alone(part: str, plan: Plan) -> None:
    """Run a part in a process and a session of its own, which can be ended as a whole."""
    os.setsid()
    PARTS[part](plan)


def in_time(part: str, plan: Plan, limit: float) -> str:
    """Run a part in a process that has so many seconds; return how it ended."""
    start = "fork" if plan.device.type == "cpu" else "spawn"  # CUDA cannot be shared by a fork
    context: Any = get_context(start)
    process = context.Process(target=alone, args=(part, plan))
    process.start()
    try:
        process.join(limit)
    finally:
        if process.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
    return {0: "done", -signal.SIGKILL: "cut off"}.get(process.exitcode or 0, "failed")


def main(
    photographs: Annotated[
        list[Path] | None, typer.Argument(help="ZIP files or folders of photographs to train on.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/gpu"),
    minutes: Annotated[float, typer.Option(help="Time of all parts together.")] = 9.0,
    init: Annotated[
        str, typer.Option(help="Shipped prior, or model folder, that the training starts from.")
    ] = "photo",
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=WEIGHT", help="How often photographs of a folder are drawn."),
    ] = None,
    smoke: Annotated[bool, typer.Option(help="Everything tiny, on a CPU, in seconds.")] = False,
) -> None:
    """Run the tests of CUDA, measure the speed and train, within a number of minutes."""
    end = time.monotonic() + 60 * minutes
    weights = weights_of(source or ())
    whole = Plan(photographs or [], out, init, weights, 60 * minutes, smoke)
    whole.write("device", name=device_name(whole.device), torch=torch.__version__)
    for name in PARTS:
        if name == "training" and not photographs:
            whole.write(name, note="no photographs were given, so nothing is trained")
            continue
        left = end - time.monotonic()
        limit = min(LIMITS.get(name, left), left)
        start = time.monotonic()
        outcome = in_time(name, replace(whole, seconds=limit - 5), limit)
        taken = round(time.monotonic() - start, 1)
        whole.write("parts", name=name, seconds=taken, outcome=outcome)


def device_name(device: torch.device) -> str:
    """Return the name of a device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


if __name__ == "__main__":
    run(main)
