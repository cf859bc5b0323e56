"""Models of transformers: checked, loaded, extended to a larger vocabulary, prepared for training.

In: a folder of safetensors and its configuration; never pickle, never code from the folder. Out: a
model whose documents in a row do not see each other, or the reason why it cannot be trained.

Open `suitability` first: it decides what can be trained. `stored/` reads folders without their
weights, `load_model` reads the weights, `embeddings` adds rows for new tokens, `trainable` selects
what trains, `attention/` separates documents, `trial` tries a small model of the same family.
"""
