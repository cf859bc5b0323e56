"""A small synthetic bilingual world, written in the file forms of the real corpora.

lexicon -> world -> topics -> english, chinese -> write
words      entities  facts     sentences          files

Every fact is rendered in English and in Chinese, so the parallel text teaches what the two
monolingual parts share. Places, trades, animals and dishes stay the same in all documents (they
can be learnt); people, journeys, markets and weather are drawn anew (they cannot be memorised).
"""
