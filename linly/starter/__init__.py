"""Start a project: recipe, curriculum and corpus files for a model and data, for `linly init`.

In: a model folder, patterns of shards, two languages. Out: the texts of the files, with the reason
for each choice, read back as a run reads them.

    model_look, found_corpora -> measured_corpora -> planned_run -> starter_texts -> first_run

Open `first_run` first. `mixture_choice` and `settings_choice` are the choices, pure arithmetic;
`text_measures` looks for characters without a piece, `advice` says what to do about them, and
`commented_yaml` writes YAML with comments.
"""
