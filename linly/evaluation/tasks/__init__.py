"""Tasks of an evaluation: windows of tokens, and figures from their likelihoods.

In: `evaluation.tasks` of a recipe and a tokenizer. Out: a `TaskEvaluation` of each task.
`in_context` and `exam_task` build the questions, `prepared_tasks` checks them before a run, and
`task_evaluator` evaluates all tasks over the ranks.

Open `prepared_tasks` first.
"""
