"""The course's room: tasks with checks, predictions, and the students' version of the notebooks.

`checks` says of what a student made whether it is right, `tasks` has one short function a task that does so,
`predictions` keeps what a student expects until it is answered, `watching` shows the first layer while a network is
trained, `handout` writes the notebooks without solutions.
How a teacher adds a task: docs/teaching.md.
"""

from fmnist_lib.course import tasks as tasks  # which fills checks.TASKS
from fmnist_lib.course.checks import NotYet, check
from fmnist_lib.course.predictions import look_back, predict
from fmnist_lib.course.watching import train_and_watch

__all__ = ["NotYet", "check", "look_back", "predict", "train_and_watch"]
