"""Look at data without training: counts and estimates before a run, texts behind rows after it.

In: the corpora of a recipe, or the row records of a run. Out: tokens per source, first documents,
held-out documents, the text of a row.

Open `source_inventory` first: it is what `linly plan` and the start of a run both do. `estimate`
counts tokens, `first_records` finds a wrong corpus file early, `held_out` selects the documents
that evaluations read, `lookup` reads the text of a row back from its shard.
"""
