"""The commands of `linly`, one module each.

In: arguments. Out: calls of the package, and text on the terminal; no logic of their own.

Open `main` first: it lists the commands and turns errors into one line and an exit status.
"""
