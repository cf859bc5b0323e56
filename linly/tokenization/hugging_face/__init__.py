"""Write tokenizers for transformers that produce the ids of training.

In: a vocabulary and the chat template and special tokens of its model folder. Out: tokenizer.json
and its companions, verified against the vocabulary on every text of `torture`, or a reason.

Open `tokenizer_export` first. `auto_tokenizer` checks how `AutoTokenizer` loads byte-level files.
"""
