"""The processes of one job: who is which rank, how they agree, and how a stuck one is found.

In: the launcher's environment. Out: collectives over small values, errors that reach all ranks, a
watchdog that ends a job whose ranks wait for one that does not come, and SIGTERM as a request.

Open `processes` first.
"""
