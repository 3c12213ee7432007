"""The report's templates: the page, and the report in each language."""

from pathlib import Path

import jinja2


def open_templates() -> jinja2.Environment:
    """All of them; a name that does not exist is an error, not a hole in the text."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
