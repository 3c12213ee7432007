"""The report's room: from notebooks and runs to what is handed in.

`make` does all of it; `exporters` run notebooks and turn them into a page, `filled` writes report.md from the runs'
files: `measured` says what can be seen in them, `pictures` and `drawings` draw it, and `yours` keeps what a student
wrote. `details` reads report.toml, and `templates` holds the words. It needs the lab extra.
"""
