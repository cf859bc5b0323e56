"""Draw a plan before the run: shares, tokens against what is available, epochs, cost.

In: a `Plan`. Out: a page in one file. Open `plan_facts` first.
"""
