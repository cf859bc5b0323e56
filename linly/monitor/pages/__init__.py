"""Compose pages: histories and charts in, HTML out.

`run_report` is a run as one file, `live` a page that grows with the run, `overlay_page` several
runs side by side. Open `page` first: all pages are composed of its parts. The HTML is in
`monitor/templates/`; `rendering` fills it, with every value escaped.
"""
