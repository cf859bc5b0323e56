"""Score every record of a corpus with a model: perplexity and bits per byte.

In: corpora and a model folder. Out: a part with scores for every 256 records, and a record list of
those outside the bounds. All ranks share the work.

Open `record_scores` first.
"""
