"""Pass rows to training: the global stream in, this rank's batches as tensors out.

    mixer --> producer processes --> stream --> loader --> StepBatch

In: a plan of the stream and a saved state. Out: one `StepBatch` per step, with the rows of this
rank and the metadata of all rows of the global batch.

Open `loader` first; it is the only module of `linly.data` that imports torch. `assignment`
assigns sources to producers, `ranks` assigns rows to ranks.
"""
