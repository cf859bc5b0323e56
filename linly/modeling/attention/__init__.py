"""Keep the documents of a row apart in attention.

In: a model and a device. Out: the backend and, where the model needs one, the mask that limit
attention to a document; or a refusal by name.

Open `attention` first (backends), then `separation`, which tries it on the model itself.
"""
