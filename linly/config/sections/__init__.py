"""Sections of a recipe, a module each for those that belong together.

In: the mapping under a section's key. Out: a frozen model, checked, with defaults filled in.
`training_section.py` has the most keys; `config/recipe.py` joins the sections.
"""
