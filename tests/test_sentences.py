"""What a notebook says of this lab's runs is computed from the stored runs, and fails when they say otherwise."""

import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import torch

from fmnist_lib import Run
from fmnist_lib.course.answers import CHECKPOINTS, best_answers
from fmnist_lib.data import load, normalise
from tests_of import sentences  # type: ignore[import-not-found]
