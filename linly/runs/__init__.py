"""The run folder: append-only logs, the per-row record, and the lock.

In: lines and rows that training writes. Out: the same, read by `linly monitor`, `report`, `trace`
and by a resume, which truncates them to the step it starts from.

Open `runs` first: `RunFolder` names every file. `row_record` is the parquet form of a step's rows;
`locks` lets one process at a time train in a folder.
"""
