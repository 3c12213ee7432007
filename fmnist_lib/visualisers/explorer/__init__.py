"""Sliders over a recording: a live widget and a kernel-free player that are one JavaScript file."""

from fmnist_lib.visualisers.explorer.array import explore
from fmnist_lib.visualisers.explorer.compare import compare
from fmnist_lib.visualisers.explorer.core import Explorer
from fmnist_lib.visualisers.explorer.errors import ExplorerError

__all__ = ["Explorer", "ExplorerError", "compare", "explore"]
