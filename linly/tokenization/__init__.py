"""Text to ids: tokenizing, extending and merging sentencepiece vocabularies, exporting them."""
