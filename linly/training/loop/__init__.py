"""The training loop.

In: a recipe. Out: a trained, evaluated, recorded and saved run.

Open `trainer` first: `Trainer.run` is the loop. `start` checks, loads, and resumes or starts a run;
`session` holds the run's components at a step.
"""
