"""Shuffle, pack and mix: documents in, the one global stream of rows out.

    blocks --> documents --> packing --> sources --> mixer
    records    encoded       rows        one source   all sources, in the curriculum's order

In: a `StreamSpec` (everything that the order of rows depends on). Out: `MixedRow`s; a `MixerState`
of a few integers per source can resume at every row.

Open `mixer` first, then `sources`. `order` holds the only randomness, hashed from names.
"""
