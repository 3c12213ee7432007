"""Tables in Markdown, and the parts of pages that are filled from a benchmark's file."""

from collections.abc import Sequence
from pathlib import Path

from fmnist_lib.files import write_atomically
from fmnist_lib.report.filled import table


def make_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; no two headings are the same."""
    return table([dict(zip(headings, row, strict=True)) for row in rows])


def fill_page(page: Path, source: Path, block: str) -> None:
    """Replace what stands in the page between the two comments that name the source."""
    begin, end = (f"<!-- {source.name}: {word} -->" for word in ("begin", "end"))
    before, rest = page.read_text().split(begin)
    after = rest.split(end)[1]
    text = f"{before}{begin}\n\n{block}\n\n{end}{after}"
    write_atomically(page, lambda file: file.write(text.encode()))
