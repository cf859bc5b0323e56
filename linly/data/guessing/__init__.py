"""Guess a corpus file from its shards, for `linly corpora new`.

In: the first shard of a pattern. Out: format, encoding, kind, fields and language, each a guess
that the command verifies on documents before it writes the file.

Open `guess` first. `guess_fields` guesses the meaning of records, `table_look` the form of a table,
`guess_pairs` finds files of two languages; `known_names` lists the names that public datasets use.
"""
