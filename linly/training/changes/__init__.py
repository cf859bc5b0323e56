"""Changes to a run: what a resume may change, amendments, and forks.

In: a run at a checkpoint and a new recipe or curriculum. Out: a decision appended to the run's log,
a new run, or an error that lists the differences.

Open `resume` first: it lists the settings that may change. `pinned_inputs` stores the inputs
that a run pins at its first start, `annealing` decides whether a fork may end with a decay.
"""
