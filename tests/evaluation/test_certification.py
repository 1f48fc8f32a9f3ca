"""The judge is judged first: its posteriors, its measures, its table; then who claims exactness."""

import csv
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from diffprior.catalog import build
from diffprior.errors import SettingError
from diffprior.evaluation import certification, commands
from diffprior.evaluation.certificates import table, uniformity
from diffprior.evaluation.certification import Effort, certify, measure, sliced
from diffprior.evaluation.exact_problems import field, mixture
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.moment_smc import MomentSMC
from diffprior.operators.matrix import Matrix
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise

from support.exact import deviations, moments, random
from support.text import unpadded

T = torch.tensor(0.4, dtype=torch.float64)


# Problems


def test_the_mixture_is_that_of_mcgdiff() -> None:
    problem = mixture(80, 4, 0)
    means = problem.prior.means
    assert means.shape == (25, 80) and set(means.unique().tolist()) == {-16, -8, 0, 8, 16}
    assert torch.equal(means[:, :2].repeat(1, 40), means) and len(means.unique(dim=0)) == 25
    s = problem.likelihood.operator.s
    assert ((s[:4] > 0) & (s[:4] < 1)).all() and s[4:].max() == 0
    assert torch.equal(s[:4], s[:4].sort(descending=True).values)
    assert 0 < problem.likelihood.sigma < s[0]


@pytest.mark.parametrize("dy", [1, 2, 4])
def test_exact_draws_of_a_mixture(dy: int) -> None:
    """Weights to rounding, moments to 4 standard errors, by another way to the posterior."""
    problem = mixture(8, dy, 3)
    post = problem.prior.posterior(problem.likelihood)
    torch.testing.assert_close(problem.weights, post.log_weights.exp())
    assert deviations(problem.sample_posterior(Noise(0, [0], 4000)), *moments(post)) < 4


def test_exact_draws_of_a_field() -> None:
    """The mean, the variance and the denoiser, by dense algebra on 18 x 18."""
    problem = field(18, 0)
    A, n = problem.likelihood.operator, 18 * 18
    eye = torch.eye(n, dtype=torch.float64).reshape(n, 1, 18, 18)
    C = problem.prior.forward(eye, T).reshape(n, n)  # as of a linear map
    alpha, sigma = problem.prior.diffusion.schedule(T)
    C = sigma**2 * torch.linalg.solve(alpha * torch.eye(n).double() - alpha**2 * C, C)
    dense, y = A(eye).reshape(n, n).T, problem.likelihood.y.flatten()
    G = (
        C
        @ dense.T
        @ torch.linalg.inv(dense @ C @ dense.T + 0.05**2 * torch.eye(n, dtype=torch.float64))
    )
    torch.testing.assert_close(problem.mean.flatten(), G @ y)
    torch.testing.assert_close(problem.var, (C - G @ dense @ C).diagonal().mean())
    assert abs(problem.sample_prior(Noise(0, [0], 2000)).var() - C.diagonal().mean()) < 0.01
    x = problem.sample_posterior(Noise(1, [0], 500))
    assert abs(measure(problem, x)["variance"] - 1) < 0.02
    assert measure(problem, x)["mean"] < 3 / 500**0.5


def test_an_axis_aligned_mixture_is_a_full_one() -> None:
    w, means, covs = torch.rand(5), 9 * random(5, 6), random(5, 6, seed=1) ** 2
    x = 5 * random(30, 6, seed=2)
    full = MixturePrior(w, means, torch.diag_embed(covs))
    torch.testing.assert_close(MixturePrior(w, means, covs)(x, T), full(x, T))
    single = MixturePrior(w, means.float(), covs.float())
    torch.testing.assert_close(single(x.float(), T).double(), full(x, T), rtol=1e-3, atol=1e-3)


# Measures


def test_sliced_distance_of_a_shift() -> None:
    """c in one dimension; |c| / sqrt(d) in d, where a direction sees 1 / d of the square."""
    x = random(50, 1)
    assert abs(sliced(x, x + 3) - 3) < 1e-9
    x, c = random(50, 8), random(8, seed=1)
    assert abs(sliced(x, x.flip(0) + c) / (c.norm() / 8**0.5) - 1) < 0.1


def test_uniformity() -> None:
    even = [(i + 0.5) / 40 for i in range(40)]
    assert uniformity(even) == 1 and uniformity([0.5] * 40) < 1e-10
    two = [0.05] * 8 + [0.15] * 0 + [(i % 8 + 2.5) / 10 for i in range(32)]  # chi2 = 8
    assert abs(uniformity(two) - 0.5341) < 1e-4


def test_measures_tell_the_prior_from_the_posterior() -> None:
    problem = mixture(8, 2, 0)
    samplers = problem.sample_posterior, problem.sample_prior
    exact, free = (measure(problem, sample(Noise(5, [0], 500))) for sample in samplers)
    assert exact["modes"] < 0.05 < 0.5 < free["modes"]
    assert exact["sliced"] < 0.2 * free["sliced"]


def test_ranks_of_exact_draws_are_uniform() -> None:
    ranks = []
    for seed in range(100):
        problem = mixture(8, 2, seed)
        ranks.append(measure(problem, problem.sample_posterior(Noise(7, [seed], 50)))["rank"])
    assert uniformity(ranks) > 1e-3


# The table


def test_a_short_certification(tmp_path: Path, monkeypatch) -> None:
    """Numbers beside their floors; refusals stay empty; what is done is not done again."""
    methods = ["moment_smc(steps=25)", "pigdm(var=64.0)"]
    said: list[str] = []
    rows = certify(tmp_path, methods, ["8,4", "field"], Effort(seeds=2, n=200), said.append)
    assert len(rows) == 4 * 3
    mean = {(r["problem"], r["method"]): float(r["sliced"]) for r in rows if r["sliced"]}
    assert mean["8,4", methods[0]] < 0.5 * mean["8,4", methods[1]] < mean["8,4", "prior"]
    assert ("field", methods[0]) not in mean and ("field", methods[1]) in mean
    smc = next(r for r in rows if r["method"] == methods[0])
    assert int(smc["calls"]) == 1 + 4 * 2 * 24 and int(smc["gradients"]) == 4 * (1 + 4 * 24)
    text = (tmp_path / "table.md").read_text()
    assert "### Sliced W2" in text and "x)" in text and "### Error of the mean" in text
    assert (tmp_path / "table.csv").read_text().startswith('sliced,,"8,4",field')
    kept = (tmp_path / "rows.csv").read_text().splitlines()
    (tmp_path / "rows.csv").write_text("\n".join(kept[:-1]) + "\n")
    again: list[str] = []
    certify(tmp_path, methods, ["8,4", "field"], Effort(seeds=2, n=200), again.append)
    assert sum("problem" in line and "###" not in line for line in again) == 1
    monkeypatch.setattr(certification, "_row", None)
    assert len(certify(tmp_path, methods, ["8,4", "field"], Effort(seeds=2, n=200))) == 12
    assert len(list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))) == 12


def test_shared_work_is_the_same_work(tmp_path: Path) -> None:
    """Two processes: the rows of one, but for their seconds; methods to be certified have more."""
    methods = ["moment_smc(particles=1)", "ddnm"]
    effort = {"seeds": 2, "n": 50, "few": 1}
    rows = [
        certify(tmp_path / str(jobs), methods, ["8,1"], Effort(**effort, jobs=jobs), print)
        for jobs in (1, 2)
    ]
    one, two = ([{k: v for k, v in r.items() if k != "seconds"} for r in part] for part in rows)
    assert one == two and [r["method"] for r in one] == [
        *("floor", "floor", "prior", "prior"),
        *("moment_smc(particles=1)", "moment_smc(particles=1)", "ddnm"),
    ]


def test_the_command(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    call = [out, "--quick", "--cell", "8,1", "--seeds", "1", "--method", "ddnm"]
    app = typer.Typer()
    app.command()(commands.certify)
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0 and "| ddnm |" in unpadded(done.stdout)
    assert (tmp_path / "out" / "table.md").exists()
    for wrong in (
        ["--method", "dnm"],
        ["--cell", "7,1"],
        ["--cell", "x"],
        ["--seeds", "0"],
        ["--jobs", "0"],
    ):
        assert CliRunner().invoke(app, [out, *wrong]).exit_code == 2


# Who claims exactness


@pytest.mark.parametrize(
    "text",
    [
        "mmps(iterations=2, sampler=ddim(steps=100))",
        "smc(proposal=mmps(iterations=2), steps=200)",
        "moment_smc",
    ],
)
def test_exact_for_a_gaussian(gaussian: MixturePrior, seen, text: str) -> None:
    """Mean and covariance of 2000 samples: 3 standard errors."""
    x = build(text)(gaussian, seen, n=2000)
    assert deviations(x, *moments(gaussian.posterior(seen))) < 3


@pytest.mark.parametrize(
    "text",
    [
        "pigdm(var=0.5, sampler=ddim(steps=100))",
        "daps(var=0.5, stop=0.001)",
    ],
)
def test_exact_for_a_round_gaussian(seen, text: str) -> None:
    var = torch.tensor([0.5], dtype=torch.float64)
    prior = MixturePrior(torch.ones(1, dtype=torch.float64), random(1, 4, seed=1), var)
    x = build(text)(prior, seen, n=1000)
    assert deviations(x, *moments(prior.posterior(seen))) < 3


def test_moment_smc_weighs_far_modes() -> None:
    """d = 80: posterior weights of five modes to 4 standard errors of 500 independent samples."""
    several = (mixture(80, 1, seed) for seed in range(20))
    problem = next(p for p in several if (p.weights > 0.02).sum() > 3)
    x = MomentSMC()(problem.prior, problem.likelihood, n=500)
    share = torch.bincount(torch.cdist(x, problem.prior.means).argmin(1), minlength=25) / 500
    w = problem.weights
    assert ((share - w).abs() < 4 * (w * (1 - w) / 500 + 1e-6).sqrt()).all()


def test_moment_smc_refuses_what_it_cannot_weigh(gaussian: MixturePrior, seen) -> None:
    many = GaussianLikelihood(operator=Matrix(random(65, 4)), y=random(65), sigma=1.0)
    with pytest.raises(ValueError, match="^MomentSMC weighs 64 numbers at most, y has 65$"):
        MomentSMC()(gaussian, many)


def test_a_multiple_is_of_the_floor_of_the_same_problems() -> None:
    """One hard problem of two: a method that ran on the hard one alone is not behind for it."""
    floors, hard = {"0": "1", "1": "3"}, {"problem": "8,1", "seed": "1", "method": "ddnm"}
    rows = [
        {"problem": "8,1", "seed": k, "method": "floor", "sliced": v} for k, v in floors.items()
    ]
    assert table([*rows, hard | {"sliced": "6"}], "sliced")[2] == ["ddnm", "6 (2.00x)"]


def test_a_cell_that_is_named_twice_is_run_once(tmp_path: Path) -> None:
    rows = certify(tmp_path, ["mcgdiff", "mcgdiff"], ["8,1", "8,1"], Effort(seeds=1, n=50))
    assert [row["method"] for row in rows] == ["floor", "prior", "mcgdiff"]


def test_what_cannot_be_certified_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SettingError, match="cannot write to the folder .*notes.txt"):
        certify(tmp_path / "notes.txt", ["mcgdiff"], ["8,1"], Effort(seeds=1))
    with pytest.raises(SettingError, match="3"):
        certify(tmp_path, ["3"], ["8,1"], Effort(seeds=1))
