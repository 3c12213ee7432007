"""A page that is handed in: title page, contents, text, and figures, in one HTML file that needs no other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from fmnist_lib.errors import LabError
from fmnist_lib.report.details import Details
from fmnist_lib.report.templates import open_templates
from fmnist_lib.report.words import WORDS, title_lines
from fmnist_lib.visualisers.explorer import Explorer

HEADING = re.compile(r'<h([1-6]) id="([^"]*)">(.*?)</h\1>', re.DOTALL)
FIGURE = re.compile(r"^!\[([^\]\n]*)\]\(figures/([^/)\n]+)/(kernels|gradients|feature_maps)_epoch_(\d+)\.png\)$", re.M)
KINDS = {"kernels": "kernels", "gradients": "gradients", "feature_maps": "maps"}
IMAGES, LAYERS = [0, 1, 8], 3  # of an explorer that stands in the place of a figure


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
    """The body with anchors that no other chapter has, and links between notebooks within the page."""
    body = re.sub(r'(<h[1-6] id="|href="#)', rf"\g<1>{chapter.slug}-", chapter.body)
    return re.sub(r'href="(\d\d_\w+)\.ipynb"', r'href="\1.html"', body)


def headings(body: str) -> list[dict[str, Any]]:
    """The contents: level, anchor and text of the headings of the first two levels."""
    found = ((int(level), anchor, re.sub(r"<[^>]+>", "", text)) for level, anchor, text in HEADING.findall(body))
    return [{"level": level, "id": anchor, "text": unescape(text)} for level, anchor, text in found if level <= 2]


class OfflineRenderer(IPythonRenderer):
    """nbconvert's Markdown, with formulas as MathML, which browsers show without a script from a network."""

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        anchor = re.sub(r"\W+", "-", unescape(re.sub(r"<[^>]+>", "", text))).strip("-")
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return formula(body, display="block")

    def inline_math(self, body: str) -> str:
        return formula(body, display="inline")


def formula(text: str, *, display: str) -> str:
    """LaTeX as MathML; what cannot be read as LaTeX stays as it was written."""
    try:
        return str(convert(text.strip(), display=display))
    except Exception:  # a parser that says what it dislikes in a dozen ways; the reader still gets the source
        return f"<code>{text}</code>"


def markdown_chapter(text: str, *, folder: Path, slug: str, explorers: bool) -> Chapter:
    """A Markdown text with its pictures in it; with `explorers` those that a run's recording can show have sliders."""
    players: list[str] = []

    def place(found: re.Match[str]) -> str:
        alt, run, what, epoch = found.groups()
        player = make_explorer(folder / "checkpoints" / run, KINDS[what], int(epoch), caption=alt)
        if player is None:
            return found[0]
        players.append(player)
        return f'<div class="figure">FIGURE-{len(players) - 1}-HERE</div>\n'

    text = FIGURE.sub(place, text) if explorers else text
    renderer = OfflineRenderer(escape=False, embed_images=True, path=str(folder), exclude_anchor_links=True)
    body = MarkdownWithMath(renderer=renderer).render(text)
    return Chapter(slug, re.sub(r"FIGURE-(\d+)-HERE", lambda found: players[int(found[1])], body))


def make_explorer(run: Path, kind: str, epoch: int, *, caption: str) -> str | None:
    """Sliders for a figure's run and kind, at its epoch; None where the recording lacks it."""
    try:
        every = list(Explorer(run, kind=kind).panels[0].layers[kind])
        step = max(1, (len(every) - 1) // (LAYERS - 1)) if len(every) > 1 else 1
        layers = list(dict.fromkeys([*every[::step][: LAYERS - 1], every[-1]]))
        images = None if kind != "maps" else IMAGES
        return Explorer(run, kind=kind, epoch=epoch, layers=layers, images=images, caption=caption).html()
    except LabError:
        return None  # the figure, which was drawn when the recording was whole, stays
