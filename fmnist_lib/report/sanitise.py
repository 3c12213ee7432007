"""What a sanitised export leaves in: nbconvert's own filter shows `<p>` and headings as text, and drops scripts."""

import bleach
from bleach.css_sanitizer import CSSSanitizer

# Beyond bleach's own: what Markdown and tables are made of. None of it can run or load anything.
TAGS = "br caption col colgroup dd del details div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr ins kbd mark p pre s"
TAGS += " samp small span strike sub summary sup table tbody td tfoot th thead tr u var"
ATTRIBUTES = {
    "*": ["class", "id", "title"],
    "td": ["colspan", "rowspan", "style"],
    "th": ["colspan", "rowspan", "style"],
}


def clean_html(element: str | bytes) -> str:
    """HTML without scripts, frames, styles, pictures from elsewhere and handlers; nbconvert calls it as its filter."""
    text = element.decode() if isinstance(element, bytes) else str(element)
    return str(
        bleach.clean(
            text,
            tags=[*bleach.ALLOWED_TAGS, *TAGS.split()],
            attributes={**bleach.ALLOWED_ATTRIBUTES, **ATTRIBUTES},
            css_sanitizer=CSSSanitizer(),
        )
    )
