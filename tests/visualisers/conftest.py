"""What holds for all tests that compare bits or last digits of what a model computes."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def exact_kernels() -> Iterator[None]:
    """CUDA promises neither the same bits twice nor float32's digits unless it is asked for them.

    Without this two snapshots of one model differ in the last bits of its convolutions' gradients, and TF32 rounds
    at 10 bits. A recorder does not ask: it takes the kernels that the training takes.
    """
    if not torch.cuda.is_available():
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
