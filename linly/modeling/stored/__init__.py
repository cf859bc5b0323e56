"""Model folders on disk: their weight files and the models they describe, without loading them.

In: a folder of safetensors and its config.json. Out: a `StoredModel` on the meta device, or an
error with its cure; and folders that are written tensor by tensor.

Open `stored_model` first. `weight_files` finds the files with weights, `configuration` refuses
models that cannot be trained, `exported_config` writes configurations for transformers 4 and 5.
"""
