"""A traced network as a page whose boxes unfold, in `details` that need no script.

The script draws the lines anew whenever a box is folded, and tells the page of clicks. What takes from other boxes than
the one above also says so in words, for readers that see no lines. Printed, the page is the picture.
"""

from collections.abc import Mapping
from functools import lru_cache
from html import escape
from pathlib import Path

from fmnist_lib.visualisers.diagram.picture import draw_picture
from fmnist_lib.visualisers.diagram.rows import describe_error, is_open, measure_row, summarise
from fmnist_lib.visualisers.diagram.trace import Part

HERE = Path(__file__).parent
MOST_NAMES = 4  # of the boxes that one box takes from
NOTE = "Click a box, and the explorers on this page that have its layer show it."


@lru_cache
def read(name: str) -> str:
    """A file beside this one."""
    return (HERE / name).read_text(encoding="utf-8").strip()


def draw_html(root: Part, *, depth: int) -> str:
    """A part of a page: boxes in `details`, which fold without a script; the script draws lines and tells of clicks."""
    numbers = {leaf: number for number, leaf in enumerate(root.leaves())}
    body = "".join(draw_part(part, numbers, is_shallow=depth > 0, depth=depth - 1) for part in root.parts)
    error = describe_error(root)
    failed = f'<p class="fmd-error">{escape(error)}</p>' if error else ""
    return (
        f'<div class="fmd" role="group" aria-label="Diagram of {escape(summarise(root))}">'
        f'<style>{read("diagram.css")}</style><p class="fmd-head">{escape(summarise(root))}</p>{failed}'
        f'<div class="fmd-rows"><svg aria-hidden="true"></svg>{body}</div>'
        f'<p class="fmd-note">{NOTE}</p>'
        f'<script>{read("diagram.js")}</script><div class="fmd-print">{draw_picture(root, depth=depth)}</div></div>'
    )


def draw_part(part: Part, numbers: Mapping[Part, int], *, is_shallow: bool, depth: int) -> str:
    """A box as HTML; a module with those inside."""
    mark = ' class="fmd-failed"' if part.error else ""
    layer = f' data-layer="{escape(part.name)}"' if part.name else ""
    title = f' title="{escape(part.detail)}"' if part.detail else ""
    text = f"<b>{escape(part.label)}</b><span>{escape(part.kind)}</span><span>{escape(measure_row(part))}</span>"
    if not part.parts:
        sources = [numbers[source] for source in part.sources]
        is_plain = sources == [numbers[part] - 1] or not sources
        told = "" if is_plain else f"<em>from {escape(name_sources(part))}</em>"
        failed = f"<em>{escape(part.error)}</em>" if part.error else ""
        return f'<button{mark}{layer}{title} data-from="{" ".join(map(str, sources))}">{text}{told}{failed}</button>'
    inside = "".join(draw_part(each, numbers, is_shallow=depth > 0, depth=depth - 1) for each in part.parts)
    opened = " open" if is_open(part, is_shallow) else ""
    return f"<details{opened}><summary{layer}{title}>{text}</summary>{inside}</details>"


def name_sources(part: Part) -> str:
    """What a box takes from, in words; the lines show all of it where the words cannot."""
    names = [source.name or source.label for source in part.sources]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def whole_page(root: Part, *, depth: int) -> str:
    """A page of its own."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(root.label)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>:root{color-scheme:light dark}'
        f"body{{margin:16px}}</style></head><body>{draw_html(root, depth=depth)}</body></html>\n"
    )
