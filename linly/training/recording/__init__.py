"""Records and displays of training: metrics, row records, guards, curves and alarms.

In: the result of each step and evaluation. Out: lines of the run folder, TensorBoard and Weights &
Biases, the progress on the terminal, alarms.

Open `bookkeeping` first: it builds the metrics of a step. `guards` decides whether a step is
skipped, `display` is the output of rank 0, `alarms` has the rules.
"""
