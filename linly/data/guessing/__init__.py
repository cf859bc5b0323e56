"""Guess corpus files from shards, for `linly corpora new` and `linly init`.

    patterns -> shard_places -> file_groups -> guess -> corpus_drafts

In: patterns, files and folders. Out: drafts of corpus files, each verified on documents, with
remarks on what is not clear.

Open `corpus_drafts` first: `draft_corpora` is the whole way. `shard_places` finds the data root and
names, `guess_pairs` files of two languages, `file_groups` the files of one corpus. `guess` looks at
one file; `guess_fields`, `guess_language` and `table_look` at its records, with `known_names`.
"""
