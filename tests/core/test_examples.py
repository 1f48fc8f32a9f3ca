"""The examples in the docstrings run."""

import doctest
from importlib import import_module

import pytest

MODULES = [
    "batching",
    "diffusions",
    "inversions.base",
    "kernels",
    "likelihoods.base",
    "methods.base",
    "operators.base",
    "processes",
    "random",
    "samplers.base",
    "schedules",
    "validation",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name: str) -> None:
    done = doctest.testmod(import_module(f"diffprior.{name}"))
    assert done.attempted > 0
    assert done.failed == 0
