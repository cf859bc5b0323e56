"""From a run's checkpoints to a model that plain transformers loads, and to generated text.

In: verified checkpoints and the run's model folder. Out: safetensors, configuration, tokenizer and
a model card in a new folder; or text.

Open `model_export` first: `assemble` builds the model of one checkpoint or the mean of several.
"""
