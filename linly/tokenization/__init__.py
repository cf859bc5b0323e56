"""Text to ids: tokenize, train, extend, merge and export vocabularies."""
