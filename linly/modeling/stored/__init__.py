"""Model folders on disk: which files hold the weights, and what they make, without loading them.

In: a folder of safetensors and its config.json. Out: a `StoredModel` on the meta device, or a
refusal that says what to do; and folders that are written tensor by tensor.

Open `stored_model` first. `weight_files` decides which files count, `configuration` refuses what
cannot be trained, `exported_config` writes what transformers 4 and 5 read.
"""
