"""Checkpoints: published atomically, loaded at any world size, mirrored elsewhere.

In: an engine's state at a step. Out: a folder of safetensors and JSON whose manifest, with sizes
and hashes, is written last.

Open `checkpoints` first, then `manifest`, which defines a complete checkpoint. `rank_snapshot`
copies a rank's share to host memory so that training continues during a save; `mirror` copies
complete checkpoints to another place.
"""
