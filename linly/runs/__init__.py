"""The run folder: append-only logs, the per-row record, and the lock.

In: records and rows written by training. Out: the same, read by `linly monitor`, `report`, `trace`
and by a resume, which truncates them to its checkpoint's step.

Open `runs` first: `RunFolder` names every file. `log_file` appends to a log and truncates it,
`log_lines` validates its lines, `row_parts` are the files of the row record, `run_places` says
where a run may start, and `locks` ensures that only one process at a time trains in a folder.
"""
