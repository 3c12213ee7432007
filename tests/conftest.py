"""What several tests share: a finished run of the smoke recipe, and a place of one's own for runs."""

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a busy machine must not make the tests crawl
if "PYTEST_XDIST_WORKER" in os.environ:  # and the tests that run beside each other share its cores
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from fmnist_lib.runs import launch
from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.places import Site
from fmnist_lib.training import recipes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """AlexNet (the quickest network) trained by the smoke recipe; read it, do not change it."""
    out = tmp_path_factory.mktemp("lab") / "checkpoints" / "alexnet-smoke"
    return launch.train_run("alexnet", recipes.find_recipe("smoke"), out=out, site=Site("cpu"))
