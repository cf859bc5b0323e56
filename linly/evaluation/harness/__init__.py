"""Exams through lm-evaluation-harness: its prompts, its tasks, its model class.

In: an `Exam` that was read from local files, a model with its tokenizer, and the processes of the
job. Out: the answers of the model to all questions, the same on all ranks.

Open `exam_session` first. This is the only folder that imports `lm_eval`, in function bodies, since
it is an extra (`linly[eval]`).
"""
