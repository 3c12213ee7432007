"""The report's room: from notebooks and runs to what is handed in.

`make` does all of it; `exporters` run notebooks and turn them into a page, `filled` writes report.md from the runs'
files, and `templates` holds the words. It needs the lab extra.
"""
