"""YAML in, frozen pydantic models out: corpus, curriculum and recipe files.

`yaml.py` reads plain data with the line of every value; `overrides.py` applies the command line,
`extends` and `${VARIABLES}` to it; the models check it; `model.py` turns their errors into
`file:line: key: found ..., allowed: ...`.
"""
