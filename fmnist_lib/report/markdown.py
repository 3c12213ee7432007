"""Markdown as HTML that needs nothing from elsewhere: formulas are MathML, pictures are in the page."""

import base64
import re
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath

from fmnist_lib.report.details import ReportError

PICTURES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp", ".svg": "svg+xml"}


def render(
    text: str, folder: Path | None, *, root: Path | None = None, attachments: dict[str, dict[str, str]] | None = None
) -> str:
    """The HTML of a Markdown text whose links start in `folder`; pictures are taken in from anywhere within `root`."""
    renderer = OfflineRenderer(escape=False, embed_images=True, attachments=attachments)
    renderer.folder, renderer.root = folder, root or folder
    return str(MarkdownWithMath(renderer=renderer).render(text))


def anchor(text: str) -> str:
    """A heading's anchor, from its text or from a link to it as JupyterLab writes one."""
    return re.sub(r"\W+", "-", unescape(re.sub(r"<[^>]+>", "", text))).strip("-")


class OfflineRenderer(IPythonRenderer):
    """nbconvert's, but for what would ask a network, and for pictures in other folders than the notebook's."""

    folder: Path | None = None
    root: Path | None = None

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        return f'<h{level} id="{anchor(text)}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return formula(body, display="block")

    def inline_math(self, body: str) -> str:
        return formula(body, display="inline")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", display="block")

    def block_mermaidjs(self, code: str) -> str:
        """A diagram's source: its library is three megabytes, and would have to come from a network."""
        return f"<pre>{escape(code.strip())}</pre>\n"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """A picture in the page, or a link to one that lies in a network."""
        if re.match(r"(https?:)?//", url):
            return f'<a href="{escape(url)}">{text or escape(url)}</a>'
        return str(super().image(text, url, title))

    def _embed_image_or_attachment(self, src: str) -> str:
        try:
            return str(super()._embed_image_or_attachment(src))
        except InvalidNotebook:  # an attachment that got lost: its alternative text is left
            return src

    def _src_to_base64(self, src: str) -> str | None:
        """A picture's file as a data URL; nothing else, and nothing outside the lab, gets into a page.

        nbconvert's own takes any file in the notebook's folder, and none in figures/ beside it.
        """
        if self.folder is None or self.root is None:
            return None
        path, root = (self.folder / unquote(src)).resolve(), self.root.resolve()
        kind = PICTURES.get(path.suffix.lower())
        try:
            if kind is None or not path.is_relative_to(root) or not path.is_file():
                return None
            return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        except (OSError, ValueError):  # cannot be read; or is no path at all, as a data URL
            return None


def formula(text: str, *, display: str) -> str:
    """LaTeX as MathML, which browsers show without a script; what cannot be read as LaTeX stays as it was written."""
    try:
        from latex2mathml.converter import convert  # here, so that nbconvert can list the exporters without it
    except ModuleNotFoundError as error:
        raise ReportError("latex2mathml, which writes formulas, is missing: pip install 'fmnist-lib[lab]'") from error
    try:
        return str(convert(text.strip(), display=display))
    except Exception:  # a parser that says what it dislikes in a dozen ways; the reader still gets the source
        return f"<code>{escape(text)}</code>"
