"""Build and grow vocabularies.

In: texts, character standards, or another vocabulary. Out: a sentencepiece model or a byte-level
vocabulary in which every old id keeps its meaning.

Open `extend` first (sentencepiece), then `byte_merges` (byte-level). `characters` lists the
candidates, `reachable` finds pieces that text never produces, `merge` is the Chinese-LLaMA merge,
`new_vocabulary` trains one, `fertility` measures tokens per character.
"""
