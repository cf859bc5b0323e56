"""Read the logs and row records of runs, as arrays and records.

In: the logs and row records of a run. Out: `History` (one row per step, one column per source),
evaluations, decisions, the documents of a step.

Open `history` first. `follow` reads a growing run incrementally; `recount` checks the logs against
the row record.
"""
