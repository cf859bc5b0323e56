"""Strict YAML reading into frozen models, with errors that name file, line and key.

In: a file and overrides from the command line. Out: plain data with the line of every value, then
pydantic models.

Open `yaml` first (the reader), then `strict_model` (the base of all models). `overrides` applies
`extends`, `${VARIABLES}` and `key=value`; `quantities` reads percentages and amounts of tokens.
"""
