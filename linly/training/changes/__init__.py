"""Changes to a run: what a resume may change, amendments, and forks.

In: a run at a checkpoint and a new recipe or curriculum. Out: a decision that is appended to the
run's log, or another run, or a refusal with the difference.

Open `resume` first: it says which settings may change. `frozen` holds what a run pins at its first
start.
"""
