"""Models: sizes, loading without pickle or remote code, extending to a larger vocabulary."""
