"""Inspect data without training: counts and estimates before a run, texts of rows after it.

In: the corpora of a recipe, or the row records of a run. Out: tokens per source, first documents,
held-out documents, the text of a row.

Open `source_inventory` first: `linly plan` and the start of a run both call it. `estimate` counts
tokens, `first_records` detects a wrong corpus file early, `held_out` selects the documents for
evaluation, `lookup` reads the text of a row back from its shard.
"""
