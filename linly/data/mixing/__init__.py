"""Shuffle, pack and mix: documents in, the one global stream of rows out.

    blocks --> document_stream --> packing --> source_stream --> mixer
    records    encoded             spans       rows of one       rows of all sources, in the
               documents                       source            curriculum's order

In: a `StreamPlan` (everything that the order of rows depends on). Out: `MixedRow`s; a `MixerState`
of a few integers per source can resume at every row. Each stage passes on values: what a later
stage needs, such as a position or a bad record, travels with the document or the row.

Open `mixer` first, then `source_stream`. `order` holds the only randomness, hashed from names.
"""
