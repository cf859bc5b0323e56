"""Draw charts: histories in, plotly figures out, one colour per source in all of them.

Open `figures` first (empty figures, thinned series, escaped names), then `charts`, which lists the
charts of a page.
"""
