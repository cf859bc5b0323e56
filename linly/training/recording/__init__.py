"""Records and displays of training: metrics, row records, guards, curves and alarms.

In: the result of each step and evaluation. Out: lines of the run folder, the curves of trackers,
the progress on the terminal, alarms.

Open `recorder` first: it writes the logs, and shows them by `display`. `run_counts` counts and
builds the record of a step. `guards` decides whether a step is skipped, `alarms` has the rules.
"""
