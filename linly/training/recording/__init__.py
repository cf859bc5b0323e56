"""What training writes and shows: metrics, row records, guards, curves and alarms.

In: the outcome of each step and evaluation. Out: lines of the run folder, TensorBoard and Weights
& Biases, the progress on the terminal, alarms.

Open `bookkeeping` first: it makes the line of a step. `guards` decides whether a step is skipped,
`display` shows what rank 0 shows, `alarms` has the rules.
"""
