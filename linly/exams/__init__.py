"""Multiple-choice exams: read MMLU, CMMLU, C-Eval and AGIEval files, and build their prompts.

In: a folder with the files of an exam, in any of the layouts that are in circulation. Out: an
`Exam`, with its questions in a fixed order, and the text of a prompt. Works without torch and
without lm-evaluation-harness.

Open `exam_reader` first, then `exam_prompts`.
"""
