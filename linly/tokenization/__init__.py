"""Text to ids: sentencepiece and byte-level vocabularies.

In: a tokenizer.model or tokenizer.json, and texts. Out: int32 ids, the same as the library's, by a
cache of words.

Open `tokenizer` first (the interface), then `load_tokenizer`. `word_cache` and `word_table` make it
fast, `growth/` extends vocabularies, and `hugging_face/` writes them for transformers.
"""
