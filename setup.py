"""Packages of the wheel; everything else is in pyproject.toml.

The folders of corpora, curricula and recipes are beside the package in the repository and inside it
in a wheel. pyproject.toml can find packages or list them, but not both.
"""

from setuptools import find_namespace_packages, setup

SHIPPED = ("corpora", "curricula", "launch/recipes")

FOLDERS = {f"linly.shipped_files.{folder.replace('/', '.')}": folder for folder in SHIPPED}

setup(packages=[*find_namespace_packages(include=["linly*"]), *FOLDERS], package_dir=FOLDERS)
