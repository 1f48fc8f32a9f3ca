"""Exact problems that many tests share."""

import gc
import os
from collections.abc import Iterator

import pytest
import torch

from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.matrix import Matrix
from diffprior.priors.mixture import MixturePrior

from support.exact import random, three_components

LONG = (  # files that take more than 15 seconds of one core, the longest first
    *("test_page", "test_page_more", "test_methods", "test_scripts", "test_latent_methods"),
    *("test_inpaint_wide", "test_docs", "test_batches", "test_faults_cli", "test_samplers"),
    *("test_faults_gray", "test_notebooks", "test_faults_priors", "test_cli"),
    *("test_guided_methods", "test_faults_border", "test_restoring", "test_boxes"),
    *("test_certification", "test_latent_tasks", "test_completion", "test_steered_tasks"),
    *("test_pipelines", "test_readme", "test_mcp_tools", "test_fashion", "test_diffusers_prior"),
    *("test_inpaint", "test_fake_device", "test_objective_runs", "test_faults_training"),
    *("test_training", "test_processes", "test_companies", "test_benchmark", "test_packaging"),
    *("test_edm", "test_edit", "test_faults_evaluation", "test_gray_priors", "test_help"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files: one that comes last would be waited for by the other workers."""
    order = {name: k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


gc.disable()  # nearly all that is made until the tests begin stays


def pytest_collection_finish() -> None:
    """Leave what was collected out of every later garbage collection: it stays to the end."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    """Each test leaves the working folder as it found it, on which the next ones stand."""
    before = os.getcwd()
    yield
    after = os.getcwd()
    os.chdir(before)
    assert after == before, f"the test left the working folder at {after}"


@pytest.fixture
def gaussian() -> MixturePrior:
    """One Gaussian in four dimensions, with correlations."""
    L = random(4, 4) / 2
    cov = L @ L.T + 0.1 * torch.eye(4, dtype=torch.float64)
    return MixturePrior(torch.ones(1, dtype=torch.float64), random(1, 4, seed=1), cov[None])


@pytest.fixture
def bimodal() -> MixturePrior:
    """Three correlated components in two dimensions."""
    return three_components()


@pytest.fixture
def seen() -> GaussianLikelihood[Matrix]:
    """Two mixed measurements of four entries."""
    A = random(2, 4, seed=4)
    y = torch.tensor([[0.5, -0.3]], dtype=torch.float64)
    return GaussianLikelihood(operator=Matrix(A), y=y, sigma=0.3)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads of torch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
