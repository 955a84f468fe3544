"""Training as the commands do it: settings, progress, and nothing lost where it is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refbilinear.spec.mlp import BilinearMLP
from refbilinear.spec.optim import init_mlp
from refbilinear.spec.train import Epoch, train
from refbilinear.study.checkpoints import save
from refbilinear.study.datasets import Dataset
from refbilinear.study.extras import Talk, progress


class Settings(NamedTuple):
    """What training was asked for; it stands in metrics.json as it is."""

    seed: int = 0
    epochs: int = 60
    d_model: int = 64
    d_hidden: int = 64
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.2
    noise: float = 0.0
    bias: bool = False
    residual: bool = False
    dtype: str = "float32"


IMAGES = Settings(
    epochs=20, d_model=512, d_hidden=512, batch_size=256, learning_rate=1e-3, weight_decay=1.0,
    noise=0.15,
)  # fmt: skip
DEFAULTS = {"digits": Settings(noise=0.3), "mnist": IMAGES, "fashion-mnist": IMAGES}
"""What each data set is trained with; of one's own data those of `Settings`."""


class Trained(NamedTuple):
    """A model after its last epoch, and how every epoch went."""

    model: BilinearMLP
    history: list[dict[str, Any]]


def train_with_progress(
    data: Dataset, settings: Settings, talk: Talk, what: str = "training", out: Path | None = None
) -> Trained:
    """Train a fresh model, with progress; if interrupted keep the last whole epoch beside `out`."""
    rng = np.random.default_rng(settings.seed)
    model = _initial_model(rng, data, settings)
    epochs = train(
        model, data.x, data.y, rng=rng, epochs=settings.epochs, batch_size=settings.batch_size,
        learning_rate=settings.learning_rate, weight_decay=settings.weight_decay,
        noise=settings.noise, validation=(data.x_test, data.y_test) if len(data.x_test) else None,
    )  # fmt: skip
    history: list[dict[str, Any]] = []
    try:
        for epoch in progress(epochs, settings.epochs, what, quiet=talk.quiet):
            model = epoch.model
            history.append(_figures(epoch))
    except KeyboardInterrupt:
        if out is None:
            raise
        words = _keep(Trained(model, history), settings.epochs, out)
        raise KeyboardInterrupt(words) from None
    return Trained(model, history)


@contextmanager
def kept_if_it_fails(trained: Trained, epochs: int, out: Path) -> Iterator[None]:
    """Save the model beside `out` if Ctrl-C comes, or anything fails, while it is being read."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_keep(trained, epochs, out)) from None
    except Exception as error:
        error.add_note(_keep(trained, epochs, out))
        raise


def _figures(epoch: Epoch) -> dict[str, Any]:
    """Return what metrics.json holds of an epoch: neither its model nor its time."""
    held = epoch._asdict()
    return {name: held[name] for name in held if name not in ("model", "seconds")}


def _initial_model(rng: np.random.Generator, data: Dataset, settings: Settings) -> BilinearMLP:
    return init_mlp(
        rng, data.x.shape[1], settings.d_model, settings.d_hidden, data.classes,
        bias=settings.bias, residual=settings.residual, dtype=settings.dtype,
    )  # fmt: skip


def _keep(trained: Trained, epochs: int, out: Path) -> str:
    """Save the model of the last whole epoch beside `out`; return what was kept, in words."""
    done = len(trained.history)
    if done == 0:
        return f"before the first of {epochs} epochs was done: nothing was kept, {out} is as it was"
    path = out.with_name(f"{out.name.removesuffix('.npz')}.interrupted.npz")
    try:
        save(path, trained.model)
    except OSError as error:
        return f"after epoch {done} of {epochs}: its model could not be kept: {error}"
    return f"after epoch {done} of {epochs}: its model is kept in {path}, {out} is as it was"
