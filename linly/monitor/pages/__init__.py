"""Compose pages: histories and charts in, HTML out.

`report` is a run as one file, `live` a page that grows with the run, `overlay_page` several runs
side by side. Open `page` first: both kinds of page are made of its parts.
"""
