"""Parts of a model that may train apart: body, input embedding, output layer, new rows of both.

In: a model and the record of its added tokens. Out: the part of every element, the parts that a
recipe's choice trains, and the reason if the model does not have them.

Open `model_parts` first.
"""
