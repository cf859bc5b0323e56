"""YAML in, frozen pydantic models out: corpus, curriculum and recipe files.

    file --yaml/--> plain data with the line of every value --models--> frozen, checked settings

In: YAML files and overrides from the command line. Out: `Recipe` with its `Curriculum`, corpora and
settings, or an error `file:line: key: found ..., allowed: ...`.

Open `recipe` first: it joins the others. `curve` and `shapes` are the ratios of a curriculum,
`sections` holds the settings of a run, each with what a resume may change; `source` says what a
source is.
"""
