"""The training loop.

In: a recipe. Out: a trained, evaluated, recorded and saved run.

Open `trainer` first: `Trainer.run` is the loop, and `step` is one step. `start` begins or resumes a
run: `starting_point` says where, and `build` makes the run's objects. `training_state` is what a
checkpoint holds besides weights and data; `saving` writes it.
"""
