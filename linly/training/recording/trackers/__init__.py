"""Trackers: programs that plot a run's scalars, all behind the interface `Tracker`.

In: scalars of steps and evaluations (`scalars_of` a record). Out: TensorBoard's files, and runs at
Weights & Biases, MLflow and Trackio if the recipe has their sections.

Open `tracker` first, then `open_trackers`, which knows all of them.
"""
