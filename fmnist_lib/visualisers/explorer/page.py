"""The library-free player: one HTML fragment that shows its contact sheet wherever its script does not run."""

import base64
import hashlib
from functools import lru_cache
from html import escape
from pathlib import Path

HERE = Path(__file__).parent


@lru_cache(maxsize=1)
def script() -> str:
    """The JavaScript of widget and page alike, an ES module with a default export."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("paint.js", "view.js", "player.js"))


@lru_cache(maxsize=1)
def style() -> str:
    """The one style sheet."""
    return (HERE / "player.css").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def inline_script() -> str:
    """The whole text of a player's script element, the same for every player.

    It is a classic script, since only such a one knows the element it stands in: the same explorer may be on a page
    twice, and JupyterLab may take a cell off the page before a module would run.
    """
    body = script().replace("export default", "const exported =")
    return f"(() => {{\n{body}\nexported.mount(document.currentScript.closest('.fmx'));\n}})();"


def security_policy() -> str:
    """The meta element of a page whose only script is the player's: no other runs, and nothing is fetched or sent."""
    digest = base64.b64encode(hashlib.sha256(inline_script().encode()).digest()).decode("ascii")
    rules = (
        "default-src 'none'",
        f"script-src 'sha256-{digest}'",
        "style-src 'unsafe-inline'",
        "img-src data: blob:",
        "font-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


NOTE = "The sliders need a trusted notebook, or an export with “Sanitize HTML output” unticked."


def make_page(bundle: str, *, sheet: bytes | None, label: str, frame: str, caption: str, alt: str) -> str:
    """The HTML of one explorer: contact sheet (PNG bytes), caption, the JSON for the player, and the player.

    The sheet is what print, an untrusted notebook and a browser without JavaScript show; None says that it is the
    output before this one. A sanitised export of nbconvert has neither pictures nor scripts of HTML but the text of
    both; its pages hide what is in a `jp-Mermaid`, and so does no other place, nor ours, whose style is then in force.
    What remains is the sheet that is an output of its own, the caption and the note.
    """
    source = f"data:image/png;base64,{base64.b64encode(sheet or b'').decode('ascii')}"
    picture = f'<img class="fmx-contact" alt="{escape(alt)}" src="{source}">' if sheet else ""
    words = f'<div class="fmx-caption">{escape(caption)}</div>' if caption else ""
    return (
        f'<div class="fmx" role="group" aria-label="{escape(label)}" data-frame="{escape(frame)}"'
        f"{'' if sheet else ' data-sheet-before'}>"
        f'<div class="jp-Mermaid"><style>{style()}</style>'
        f"{picture}"
        f'<script type="application/json" class="fmx-data">{bundle}</script>'
        f"<script>{inline_script()}</script></div>"
        f'{words}<div class="fmx-note">{escape(alt)}. {NOTE}</div></div>'
    )


def whole_page(fragment: str, *, title: str) -> str:
    """A page of its own around a player."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">{security_policy()}\n'
        f"<title>{escape(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<style>:root { color-scheme: light dark } body { margin: 16px; font-family: system-ui, sans-serif }</style>"
        f"</head>\n<body>{fragment}</body>\n</html>\n"
    )
