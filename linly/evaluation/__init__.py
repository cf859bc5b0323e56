"""Evaluate on held-out documents: loss and bits per byte per source, and what follows from them.

In: held-out documents and a model. Out: one record per evaluation; `combined_loss` joins the
sources into one figure, `curve_guard` raises or lowers a guarded ratio, `summary` states what the
run gained and lost.

Open `evaluation` first.
"""
