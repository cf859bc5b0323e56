"""Evaluate on held-out documents: loss and bits per byte per source, and guard decisions.

In: held-out documents and a model. Out: one record per evaluation; `combined_loss` combines
the sources into one loss, `curve_guard` raises or lowers a guarded ratio, `summary` reports the
change per language.

Open `evaluation` first.
"""
