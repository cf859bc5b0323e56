"""Structures of a parquet file that pyarrow does not show.

In: an open parquet file. Out: the number of values of each column chunk (`parquet_footer`), and the
size and encoding of each of its pages (`parquet_pages`).
"""
