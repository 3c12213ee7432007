"""A page that is handed in: title page, contents, text, and figures, in one HTML file that needs no other."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import unquote

from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from fmnist_lib.report.details import Details
from fmnist_lib.report.markdown import anchor
from fmnist_lib.report.templates import open_templates
from fmnist_lib.report.words import WORDS, title_lines

HEADING = re.compile(r'<h([1-6]) id="([^"]*)">(.*?)</h\1>', re.DOTALL)


@dataclass(frozen=True)
class Chapter:
    """A part of the page: its HTML, a name for its anchors, and what the reader has to know of it first."""

    slug: str
    body: str
    note: str = ""


def make_page(chapters: Sequence[Chapter], details: Details, *, language: str, title: str = "") -> str:
    """The whole page. What comes from report.toml is text, whatever characters it has."""
    named = [Chapter(each.slug, name_anchors(each), each.note) for each in chapters]
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return (
        open_templates()
        .get_template("report.html")
        .render(
            language={"en": "en", "zh": "zh-CN"}[language],
            words=WORDS[language],
            title=details.title or title or WORDS[language]["title"],
            lines=title_lines(details, language),
            chapters=[{"slug": each.slug, "body": each.body, "note": each.note} for each in named],
            contents=[entry for each in named for entry in headings(each.body)],
            has_code=any('<details class="code"' in each.body for each in named),
            light=light,
            dark=dark,
        )
    )


def name_anchors(chapter: Chapter) -> str:
    """The body with anchors that no other heading of the page has, and links between pages instead of notebooks."""
    seen: Counter[str] = Counter()

    def name(found: re.Match[str]) -> str:
        seen[found[2]] += 1
        again = f"-{seen[found[2]]}" if seen[found[2]] > 1 else ""
        return f'{found[1]}{chapter.slug}-{found[2]}{again}"'

    body = re.sub(r'(<h[1-6] id=")([^"]*)"', name, chapter.body)
    body = re.sub(r'<a href="#([^"]*)"', lambda it: f'<a href="#{chapter.slug}-{anchor(unquote(it[1]))}"', body)
    return re.sub(r'(<a href="(?:(?:notebooks/)?\d\d_\w+|report(?:\.zh)?))\.(?:ipynb|md)"', r'\1.html"', body)


def headings(body: str) -> list[dict[str, Any]]:
    """The contents: level (1 or 2), anchor and text of the headings of the first two levels that there are."""
    found = ((int(level), anchor, re.sub(r"<[^>]+>", "", text)) for level, anchor, text in HEADING.findall(body))
    entries = [{"level": level, "id": anchor, "text": unescape(text)} for level, anchor, text in found]
    top = min((entry["level"] for entry in entries), default=1)
    return [entry | {"level": entry["level"] - top + 1} for entry in entries if entry["level"] <= top + 1]
