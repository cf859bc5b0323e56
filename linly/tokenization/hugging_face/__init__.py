"""Write tokenizers for transformers that give the ids that were trained.

In: a vocabulary and the chat template and special tokens of its model folder. Out: tokenizer.json
and its companions, verified against the vocabulary on every text of `torture`, or refused.

Open `export` first. `auto_tokenizer` checks what `AutoTokenizer` makes of byte-level files.
"""
