"""Processes of one job: ranks, agreement on values and errors, detection of hung ranks.

In: the launcher's environment. Out: collectives over small values, errors that reach all ranks, a
watchdog that ends a job with a hung rank, and SIGTERM as a stop request.

Open `processes` first.
"""
