"""Training: from batches to weights, checkpoints and records.

start       checks, loads, and resumes or starts a run
  |
trainer     the loop:  batch -> engine (micro-batches) -> guards -> engine (step) -> records
  |
engine      DeepSpeed ZeRO-2: BF16, fp32 master weights, the only module that imports it
checkpoints published atomically, loaded at any world size; the manifest completes one
recording   metrics, row records, guards, curves and alarms
changes     resume, amendments and forks
ranks       processes of the job, watchdog, SIGTERM
"""
