"""JupyterLab's menu "Save and Export Notebook As": our exporters under names for people, and one message if one fails.

JupyterLab shows an exporter under the name that it is registered by, and its server takes letters, digits and _ in one.
So two handlers stand before the server's own: one lists our exporters by their words, the other exports by them. It is
a server extension, which report/jupyter/server/fmnist_lib.json turns on; without it the menu says Labreport.
"""

import json
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from jupyter_server.base.handlers import path_regex
from jupyter_server.nbconvert.handlers import NbconvertFileHandler
from jupyter_server.services.nbconvert.handlers import NbconvertRootHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError
from traitlets.config import Config

from fmnist_lib.errors import LabError
from fmnist_lib.report.exporters import LabReportExporter, LabReportPDFExporter

CONFIGURATION = Path(__file__).parent / "jupyter" / "nbconvert" / "jupyter_nbconvert_config.json"
ENTRIES = {  # what the menu says -> the exporter's name
    LabReportExporter.export_from_notebook: "labreport",
    LabReportPDFExporter.export_from_notebook: "labreport_pdf",
}


class ListHandler(NbconvertRootHandler):
    """All of nbconvert's formats, ours first and by their words."""

    def finish(self, *chunks: Any, **options: Any) -> Any:
        """Answer, with what was found renamed; an error's answer is left as it is."""
        if self.get_status() == 200 and chunks:
            formats = json.loads(chunks[0])
            ours = {words: formats.pop(name) for words, name in ENTRIES.items() if name in formats}
            chunks = (json.dumps(ours | formats), *chunks[1:])
        return super().finish(*chunks, **options)


class ExportHandler(NbconvertFileHandler):
    """The server's own export; a LabError is a short page that says what to do, and no trace of calls."""

    async def get(self, words: str, path: str) -> None:
        """Export the notebook at `path`."""
        try:
            await super().get(ENTRIES[unquote(words)], path)  # type: ignore[misc]  # its wrapper is badly typed
        except HTTPError as error:
            if not isinstance(error.__cause__, LabError):
                raise
            self.set_status(400)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(
                '<!doctype html><meta charset="utf-8"><title>Not exported</title>'
                '<body style="font: 18px/1.5 system-ui, sans-serif; max-width: 45em; margin: 3em auto; padding: 0 1em">'
                f"<h1>The lab report was not made</h1><p>{escape(str(error.__cause__))}.</p>"
                "<p>Your notebook is saved as it was.</p>"
            )


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """How a Jupyter server finds this."""
    return [{"module": "fmnist_lib.report.menu"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Called once, when the server starts."""
    base = server.web_app.settings["base_url"]
    words = "|".join(quote(entry, safe="()") for entry in ENTRIES).replace("(", r"\(").replace(")", r"\)")
    handlers = [
        (url_path_join(base, "api", "nbconvert"), ListHandler),
        (url_path_join(base, "nbconvert", f"(?P<words>{words})") + path_regex, ExportHandler),
    ]
    server.web_app.add_handlers(".*$", handlers)
    # The server hands its own configuration to exporters, and reads nbconvert's for none of them.
    server.config.merge(Config(json.loads(CONFIGURATION.read_text(encoding="utf-8"))))
