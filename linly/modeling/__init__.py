"""Models: sizes, loading without pickle or remote code, rows for a larger vocabulary."""
