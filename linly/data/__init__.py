"""The data path: shards on disk in, one global stream of rows out, restorable at every row.

Each stage is a module that takes the type before it and gives the one after it (`types`)::

    Shard ------- shards, formats   a file of a corpus, as frozen when the run began
      |
    RawRecord --- blocks            up to 8 shards in turn, permuted 1,024 records at a time
      |
    Document ---- templates         segments of text, supervised or not; or bad, or filtered
      |
    EncodedDocument  documents,     BOS, the segments' tokens, EOS; encoded in batches
      |              encoding
    Row --------- packing, sources  `sequence_length` positions of one source
      |
    MixedRow ---- mixer             the rows of all sources, in the order of the curriculum
      |
    StepBatch --- producer,         made beside the training, by one process or by several that
                  dealing, loader     share the sources; this rank's slice, as tensors

One source alone, without a model or a curriculum::

    spec, tokenizer = SourceSpec(name="wiki", corpus=corpus, ...), load_tokenizer(path)
    for sourced in SourceStream(spec, tokenizer):
        sourced.row       # ids, labels, where each piece comes from
        sourced.cursor    # SourceStream(spec, tokenizer, sourced.cursor) goes on behind this row

The whole stream of a recipe::

    plan = stream_plan(recipe, tokenizer_path, shards)
    state = plan.new_state()      # or MixerState.from_json(saved, plan.identity)
    rows = data_stream(plan, state, producers=1, prefetch_rows=256, timeout_s=300)
    for mixed in rows:
        state.advance(mixed)      # consumed; state.to_json() now goes on behind it
    rows.close()

Which mixture holds from which row on is the run's decision log, folded by `decisions`.

How it stays exact. The only randomness is `order.permutation`, hashed from names. There is no
shuffle buffer: a block is read again from where it began, so a cursor is a few integers. Rows
made ahead belong to nobody: the state is that of the last row *consumed*, and what was made ahead
is made again. Every rank makes the whole stream and keeps its slice, so neither the world size
nor the number of producers reaches the order. Nothing goes missing in silence: a bad record comes
out with the first row past it, once, and too many of them end the stream (`quarantine`).

Only `loader` imports torch.
"""
