"""Sliders over a recording: a live widget and a kernel-free player that are one JavaScript file."""

from fmnist_lib.explorer.compare import compare
from fmnist_lib.explorer.core import Explorer
from fmnist_lib.explorer.errors import ExplorerError

__all__ = ["Explorer", "ExplorerError", "compare"]
