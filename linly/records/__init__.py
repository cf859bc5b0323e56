"""Records of a run: what a step, an evaluation and a row leave behind, each declared once.

In: figures of training. Out: the lines of metrics.jsonl and evaluations.jsonl, and the row record.
The same classes write and read them.

Open `step_record` first: a metric is a field of a record, with its entry of the table beside it
(`metrics`: unit, name for plotting programs, chart, alarm). `measures` computes the figures that
more than one part needs.
"""
