"""Files in, records out: what readers of several formats, or of one, are made of."""
