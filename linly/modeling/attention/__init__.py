"""Keep the documents of a row apart in attention.

In: a model and a device. Out: the backend and, where the model needs one, the mask that limits
attention to a document; or an error that names the model type.

Open `attention` first (backends), then `separation`, which tests them on the model itself.
"""
