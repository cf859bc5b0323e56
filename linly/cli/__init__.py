"""The commands of `linly`, one module each; `main` gathers them."""
