"""Guess a corpus file from a look at its shards: what `linly corpora new` writes.

In: the first shard of a pattern. Out: format, encoding, kind, fields and language, each a guess
that the command verifies on documents before it writes the file.

Open `guess` first. `guess_fields` decides what records mean, `table_look` whether a table has a
header, `guess_pairs` finds files of two languages; `known_names` lists the names that public
datasets use.
"""
