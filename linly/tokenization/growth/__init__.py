"""Build and grow vocabularies.

In: texts, character standards, or another vocabulary. Out: a sentencepiece model or a byte-level
vocabulary in which every old id keeps its meaning.

Open `extend` first (sentencepiece), then `byte_merges` (byte-level). `characters` lists what to
add, `reachable` finds pieces that no text gives, `merge` is the Chinese-LLaMA merge, `train` trains
a vocabulary, `fertility` measures tokens per character.
"""
