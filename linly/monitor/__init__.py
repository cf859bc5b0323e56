"""Pages and charts of plans and runs: plan, report, live page, comparison.

    run folder --history/--> arrays --charts/--> figures --pages/--> HTML, live or in one file

In: the records of a run, or a plan. Out: pages that need no network.

Open `pages/page` first, then `history/history`. `plans/` shows a plan before a run.
"""
