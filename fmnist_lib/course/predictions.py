"""What a student expects, kept in the cell that says it, and looked back at when the answer is known."""

from collections.abc import Sequence

from fmnist_lib.errors import LabError

MADE: dict[str, str] = {}  # by name, as long as the kernel lives; what is handed in is the cell itself


class PredictionError(LabError):
    """A prediction that is none of the choices."""


def predict(name: str, prediction: str = "", *, choices: Sequence[str] = ()) -> None:
    """Keep a prediction, to be typed between the quotes; with `choices`, one of these. Raises PredictionError."""
    prediction = str(prediction).strip()
    if not prediction:
        MADE.pop(name, None)
        wanted = "one of these" if choices else "what you expect"
        print(f"Type {wanted} between the quotes.", *choices, sep="\n    ")
        return
    if choices and prediction not in choices:
        raise PredictionError(f"{prediction!r} is none of the choices: {', '.join(choices)}")
    MADE[name] = prediction
    print(f"Kept: {prediction}")


def look_back(name: str) -> None:
    """Show the prediction again, where its answer can be seen."""
    none = "You made no prediction here. You can still go back, make one, and run this cell again."
    print(f"You expected: {MADE[name]}" if name in MADE else none)
