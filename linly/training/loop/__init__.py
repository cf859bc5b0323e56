"""The training loop.

In: a recipe. Out: a trained, evaluated, recorded and saved run.

Open `trainer` first: `run` is the loop. `start` checks, loads, and resumes or begins a run;
`session` holds the run's components at a step.
"""
