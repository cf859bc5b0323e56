"""Learn words of a script, and append them to a vocabulary after all old merges (continued BPE).

In: a vocabulary of either kind, the characters of a script, and texts. Out: a vocabulary in which
every old id and every text without a new word is as before (arXiv 2512.03989).

Open `learn_words` first. `scripts` names the characters, `script_runs` finds the runs of tokens to
learn from, `word_merges` learns from them, `word_vocabulary` appends the result, `word_expansion`
proves it on texts, and `word_count` chooses how many.
"""
