"""Training: from batches to weights, checkpoints and records.

session     checks, loads, resumes or begins a run
  |
trainer     the loop:  batch -> engine (micro-batches) -> guards -> engine (step) -> records
  |
engine      DeepSpeed ZeRO-2: BF16, fp32 master weights, the only module that imports it
checkpoints whole or absent, at any world size; manifest says what whole is
evaluation  held-out documents, per source
export, generate   what comes out
"""
