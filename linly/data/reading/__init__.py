"""Read shards: files of a corpus in, raw records out, starting at any record.

    pattern --shards--> Shard --formats--> RawRecord --records--> fields of the corpus

In: the patterns of a corpus file, local or remote. Out: one `RawRecord` (shard, position, value or
the reason why it is unusable) at a time, in bounded memory.

Open `shards` first: `list_shards` expands patterns, `ShardReader` opens one. `formats` has one
reader per format; JSON arrays, parquet, other columnar files and TMX have modules of their own.
`lines` reads the lines of text files, `parquet_file` what pyarrow does not show of a parquet file.
`records` finds fields and applies `where`.
"""
