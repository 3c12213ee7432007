"""What a recipe's teacher, another finished run, answers to the training images.

Letters: N images, K classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fmnist_lib.runs.checkpoint import Run
from fmnist_lib.runs.measure import predict
from fmnist_lib.runs.places import home
from fmnist_lib.runs.storage import RunError


def ask_teacher(run: Run, images: Tensor, labels: Tensor, *, device: str = "auto") -> Tensor:
    """Class probabilities float32 (2, N, K) to learn, for images and their mirror images: labels and teacher's answers.

    The teacher is asked once, about whole images. What the student sees shifted and erased in part it is to answer as
    the teacher answers all of it, so that an epoch costs no more than without a teacher. Sources: Hinton et al. 2015,
    arXiv:1503.02531; for answers that are kept, Shen and Xing 2021, arXiv:2112.01528. The run notes the digest of the
    teacher's weights. Raises RunError without the teacher, and if the run began with other weights than these.
    """
    teacher = find_teacher(run)
    digest = teacher.weights_digest()
    if run.teacher_digest not in ("", digest):
        raise RunError(
            f"{run.path} began to learn from other weights of {run.recipe.teacher} than those that are in "
            f"{teacher.path} now. Nothing was changed. Bring the old ones back, or train again with --fresh"
        )
    run.teacher_digest = digest
    model = teacher.model()
    answers = predict(model, images, device=device)
    mirrored = predict(model, images.flip(3), device=device) if run.recipe.flip else answers
    truth = functional.one_hot(labels, answers.shape[1]).float()
    return truth.lerp(torch.stack([answers, mirrored]), run.recipe.teacher_share)


def find_teacher(run: Run) -> Run:
    """The finished run in checkpoints/ that the recipe names. Raises RunError."""
    recipe = run.recipe
    try:
        teacher = Run.load(home() / "checkpoints" / recipe.teacher)
        if not teacher.is_finished:
            raise RunError(f"its training stopped after epoch {teacher.epochs_done} of {teacher.recipe.epochs}")
    except RunError as error:
        raise RunError(
            f"the recipe {recipe.name!r} learns from the run {recipe.teacher}, so that is to be trained first: {error}"
        ) from error
    return teacher
