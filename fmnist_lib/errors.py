"""The one base of every error that a user can act on, and of every warning that a user should read."""


class LabError(Exception):
    """What went wrong, what was kept and what to do, in one message; the command line prints it and nothing else.

    Each room derives its own from it: data.DataError, runs.storage.RunError, visualisers.explorer.ExplorerError.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook's cell, where a traceback would hide the message."""
        return [f"{type(self).__name__}: {self}"]


class LabWarning(UserWarning):
    """What goes on, but otherwise than asked for; the command line prints the message as a line of its own."""
