"""Where a person meets it: data, model files, findings, pictures, reports, the command line."""

from refbilinear.study.checkpoints import load, save
from refbilinear.study.datasets import Dataset, digits, read_dataset

__all__ = ["Dataset", "digits", "load", "read_dataset", "save"]
