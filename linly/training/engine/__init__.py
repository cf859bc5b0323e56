"""The DeepSpeed engine, the model's loss, and the arithmetic of one step.

In: a model, training settings and a micro-batch. Out: summed losses per row, applied steps, and
fp32 master weights and moments by parameter.

Open `engine` first; it is the only module that imports deepspeed. `objective` combines model
and loss, `losses` has the forms of the loss.
"""
