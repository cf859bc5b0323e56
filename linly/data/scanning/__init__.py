"""Scan corpora for records to leave out: leaked exam questions and near-duplicates.

    shards --scanned_texts--> texts --units--> n-grams --exam_index, leaks--> ListedRecord
                                                       --duplicates-------->

In: corpora, and the questions of exams or a similarity. Out: the records to leave out, which
`linly.data.record_list` writes. Nothing is changed on disk.

Open `leaks` first, then `exam_index`.
"""
