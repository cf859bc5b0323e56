"""The run folder: append-only logs, the per-row record, and the lock.

In: records and rows written by training. Out: the same, read by `linly monitor`, `report`, `trace`
and by a resume, which truncates them to its checkpoint's step.

Open `runs` first: `RunFolder` names every file. `row_record` is the parquet form of a step's rows;
`locks` ensures that only one process at a time trains in a folder.
"""
