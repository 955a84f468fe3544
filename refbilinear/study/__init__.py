"""Where a person meets it: data, model files, findings, pictures, reports, the command line."""

from refbilinear.study.checkpoints import load, save
from refbilinear.study.datasets import (
    Dataset,
    digits,
    fashion_mnist,
    load_dataset,
    mnist,
    read_dataset,
)
from refbilinear.study.idx import read_idx

__all__ = [
    "Dataset",
    "digits",
    "fashion_mnist",
    "load",
    "load_dataset",
    "mnist",
    "read_dataset",
    "read_idx",
    "save",
]
