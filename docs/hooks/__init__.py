"""Code that builds the documentation site: MkDocs calls `site`, which makes pages from the code."""
