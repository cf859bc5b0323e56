"""Files in, records out: the parts that readers of one format are made of."""
