"""The data path: shards on disk in, one global stream of rows out, restorable at every row.

Each stage is a module that maps the type above it to the one below it (`types`)::

    Shard ------- shards, formats   a file of a corpus, pinned at the start of the run
      |
    RawRecord --- blocks            up to 8 shards in turn, permuted 1,024 records at a time
      |
    Document ---- templates         segments of text, supervised or not; or bad, or filtered
      |
    EncodedDocument  document_      BOS, the segments' tokens, EOS; encoded in batches
      |              stream
    Row --------- packing, source_  `sequence_length` positions of one source, and the cursor after
      |           stream            them (`cursor`)
      |
    MixedRow ---- mixer             the rows of all sources, in the order of the curriculum
      |
    StepBatch --- producer, loader  built ahead of the training by one or more processes that
                                    share the sources; this rank's slice, as tensors

One source without a model or a curriculum::

    spec, tokenizer = SourceSpec(source, ...), load_tokenizer(path)
    for row in SourceStream(spec, tokenizer):
        row.ids       # and labels, the origin of each span, bad records found on the way
        row.cursor    # SourceStream(spec, tokenizer, row.cursor) resumes after this row

The whole stream of a recipe::

    plan = stream_plan(recipe, tokenizer_path, shards)
    state = plan.new_state()      # or MixerState.from_json(saved, plan.identity)
    rows = data_stream(plan, state, producers=1, prefetch_rows=256, timeout_s=300)
    for mixed in rows:
        state.advance(mixed)      # consumed; state.to_json() now resumes after it
    rows.close()

The phases of the plan come from `linly.curriculum.timeline`, each with its mixture and first row.

Why it stays exact. The only randomness is `order.permutation`, hashed from names. There is no
shuffle buffer: a block is read again from its start, so a cursor is a few integers. The state is
that of the last row *consumed*; rows prefetched beyond it are built again after a resume. Every
rank builds the whole stream and keeps its slice, so neither the world size nor the number of
producers affects the order. Nothing is dropped silently: a bad record is reported once, with the
first row after it, and too many of them end the stream (`quarantine`).

Only `loader` imports torch.
"""
