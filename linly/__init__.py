"""linly: full-parameter continual pre-training on a mixture whose ratios move along a curve."""

__version__ = "0.1.0"
