"""Training: the same as a loop by hand, the same twice, and honest about what it did."""

import math

import numpy as np
import pytest

import laws
from refbilinear import (
    BilinearLayer,
    BilinearMLP,
    accuracy,
    adamw,
    cosine_schedule,
    cross_entropy,
    init_mlp,
    mlp_backward,
    mlp_forward,
    parameters,
    train,
    with_parameters,
)
from refbilinear.spec.train import NORMALS_BLOCK, normals
from strategies import FLOATS

SETTINGS = {"epochs": 3, "batch_size": 8, "learning_rate": 0.02}


def problem(dtype=np.float64, n=29):
    rng = np.random.default_rng(12)
    x = rng.standard_normal((n, 3)).astype(dtype)
    model = init_mlp(rng, 3, 4, 5, 2, bias=True, dtype=dtype)
    return model, x, (x[:, 0] * x[:, 1] > 0).astype(int)


def same_bytes(one, other):
    for name, w in parameters(one).items():
        assert w.tobytes() == parameters(other)[name].tobytes()


def train_by_hand(model, x, labels, seed, *, decay, exempt, noise):
    """The loop of `train`, from the public parts; 8 of a batch, 5 of 29 examples left over."""
    rng, t = np.random.default_rng(seed), 0
    moments = {name: (w * 0, w * 0) for name, w in parameters(model).items()}
    for epoch in range(3):
        order, met = rng.permutation(29), []
        for batch in (order[0:8], order[8:16], order[16:24]):
            z = x[batch]
            if noise:
                z = normals(rng, z.size, noise).reshape(z.shape).astype(z.dtype) + z
            y, t = mlp_forward(model, z), t + 1
            loss = cross_entropy(y, labels[batch])
            met.append((float(loss.value), accuracy(y, labels[batch])))
            gradients, values = parameters(mlp_backward(model, z, loss.dy)), {}
            for name, w in parameters(model).items():
                is_bias = w.ndim == 1
                values[name], *moments[name] = adamw(
                    w, gradients[name], *moments[name], t,
                    learning_rate=cosine_schedule(epoch, 3, 0.02),
                    weight_decay=0.0 if exempt and is_bias else decay,
                )  # fmt: skip
            model = with_parameters(model, values)
    return model, np.mean(met, axis=0).tolist()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("decay", "decay_biases", "noise"),
    [(0.0, True, 0.0), (0.5, True, 0.0), (0.5, False, 0.0), (0.25, False, 0.5)],
)
def test_training_is_the_loop_by_hand(dtype, decay, decay_biases, noise):
    model, x, labels = problem(dtype)
    *_, last = train(
        model, x, labels, rng=5, weight_decay=decay, decay_biases=decay_biases, noise=noise,
        **SETTINGS,
    )  # fmt: skip
    want, met = train_by_hand(
        model, x, labels, 5, decay=decay, exempt=not decay_biases, noise=noise
    )
    assert last.model.dtype == dtype
    same_bytes(last.model, want)
    assert [last.loss, last.accuracy] == met


def test_decay_of_biases_is_seen_where_it_acts():
    model, x, labels = problem()
    runs = [
        list(train(model, x, labels, rng=5, weight_decay=0.5, decay_biases=on, **SETTINGS))[-1]
        for on in (True, False)
    ]
    of_bias = [parameters(run.model)["layers.0.b_left"] for run in runs]
    assert (of_bias[0] != of_bias[1]).any()


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_the_same_seed_gives_the_same_bytes(noise):
    model, x, labels = problem()
    runs = [
        list(train(model, x, labels, rng=rng, noise=noise, **SETTINGS))
        for rng in (3, 3, np.random.default_rng(3), 4)
    ]
    for epochs in zip(*runs, strict=True):
        first, again, drawn, other = epochs
        same_bytes(first.model, again.model)
        same_bytes(first.model, drawn.model)
        assert first.loss == again.loss == drawn.loss != other.loss


def test_what_an_epoch_tells():
    model, x, labels = problem()
    before = {name: w.tobytes() for name, w in parameters(model).items()}
    given = x.tobytes(), labels.tobytes()
    epochs = list(train(model, x, labels, rng=0, validation=(x[:5], labels[:5]), **SETTINGS))
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    for epoch in epochs:
        y = mlp_forward(epoch.model, x[:5])
        assert epoch.validation_loss == float(cross_entropy(y, labels[:5]).value)
        assert epoch.validation_accuracy == accuracy(y, labels[:5])
        assert epoch.seconds > 0
        assert type(epoch.loss) is type(epoch.accuracy) is float
    assert {name: w.tobytes() for name, w in parameters(model).items()} == before
    assert (x.tobytes(), labels.tobytes()) == given


def test_without_validation_there_are_no_figures_of_it():
    model, x, labels = problem()
    (epoch,) = train(model, x, labels, rng=0, epochs=1)
    assert epoch.validation_loss is None
    assert epoch.validation_accuracy is None


def test_validation_takes_no_noise_and_no_randomness():
    model, x, labels = problem()
    (alone,) = train(model, x, labels, rng=0, epochs=1, noise=0.5)
    (judged,) = train(model, x, labels, rng=0, epochs=1, noise=0.5, validation=(x, labels))
    same_bytes(alone.model, judged.model)
    y = mlp_forward(judged.model, x)
    assert judged.validation_loss == float(cross_entropy(y, labels).value)


def test_fewer_examples_than_a_batch_are_one_batch():
    model, x, labels = problem(n=5)
    (small,) = train(model, x, labels, rng=0, epochs=1, batch_size=256)
    (exact,) = train(model, x, labels, rng=0, epochs=1, batch_size=5)
    same_bytes(small.model, exact.model)


def test_what_is_left_over_is_not_trained_on():
    model, x, labels = problem(n=9)
    left = np.random.default_rng(0).permutation(9)[8:]
    changed = x.copy()
    changed[left] += 1
    (one,) = train(model, x, labels, rng=0, epochs=1, batch_size=4)
    (other,) = train(model, changed, labels, rng=0, epochs=1, batch_size=4)
    same_bytes(one.model, other.model)


def test_it_learns_a_product_of_signs():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 2))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    first, *_, last = train(init_mlp(rng, 2, 4, 4, 2), x, labels, rng=rng, learning_rate=0.03)
    assert last.loss < first.loss / 2
    assert last.accuracy > 0.95


def test_a_loss_that_is_not_finite_names_its_epoch():
    model, x, labels = problem()
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="in epoch 1: train"):
        next(train(model, x * np.nan, labels, rng=0))
    steep = train(model, x, labels, rng=0, epochs=50, learning_rate=1e200)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"in epoch \d+"):
        list(steep)


def test_a_later_epoch_is_named_too():
    """A steep first step makes the loss of the second epoch infinite: one batch an epoch."""
    model = BilinearMLP(None, [BilinearLayer([[1.0]], [[1.0]])], [[1.0], [-1.0]])
    run = train(model, [[1.0]], [0], rng=0, epochs=2, learning_rate=1e200)
    with np.errstate(all="ignore"):
        assert math.isfinite(next(run).loss)
        with pytest.raises(FloatingPointError, match="in epoch 2"):
            next(run)


SAMPLE = 2 * NORMALS_BLOCK + 20_001


def test_normals_have_the_moments_of_a_normal():
    """The mean of n draws has variance 1/n, their variance 2/n, the fourth moment 96/n; six each."""
    z = normals(np.random.default_rng(0), SAMPLE).astype(np.float64)
    assert z.shape == (SAMPLE,)
    assert abs(z).max() < 5.8
    assert abs(z.mean()) < 6 / math.sqrt(SAMPLE)
    assert abs((z**2).mean() - 1) < 6 * math.sqrt(2 / SAMPLE)
    assert abs((z**3).mean()) < 6 * math.sqrt(15 / SAMPLE)
    assert abs((z**4).mean() - 3) < 6 * math.sqrt(96 / SAMPLE)
    # A lag and the two halves of a block are uncorrelated: products of variance 1/n.
    assert abs((z[1:] * z[:-1]).mean()) < 6 / math.sqrt(SAMPLE)
    half = NORMALS_BLOCK // 2
    assert abs((z[:half] * z[half : 2 * half]).mean()) < 6 / math.sqrt(half)


def test_normals_have_the_distribution_of_a_normal():
    """Dvoretzky, Kiefer, Wolfowitz, Massart: P(sup > e) ≤ 2 exp(−2 n e²), here 1e-9."""
    z = np.sort(normals(np.random.default_rng(1), SAMPLE))
    below = np.array([(1 + math.erf(one / math.sqrt(2))) / 2 for one in z.tolist()])
    steps = np.arange(SAMPLE + 1) / SAMPLE
    distance = max((steps[1:] - below).max(), (below - steps[:-1]).max())
    assert distance < math.sqrt(math.log(2e9) / (2 * SAMPLE))


@pytest.mark.parametrize("size", [0, 1, 2, 7, NORMALS_BLOCK, NORMALS_BLOCK + 1])
def test_normals_come_in_every_number(size):
    z = normals(np.random.default_rng(2), size)
    assert z.shape == (size,)
    assert z.dtype == np.float32
    laws.same(z, normals(np.random.default_rng(2), size))
    assert len(np.unique(z)) > 0.99 * size - 1


@pytest.mark.parametrize("dtype", FLOATS)
def test_numpy_scalars_as_settings_do_not_widen_the_model(dtype):
    model, x, labels = problem(dtype)
    plain = {"learning_rate": 0.01, "weight_decay": 0.125, "noise": 0.25}
    scalars = {name: np.float64(value) for name, value in plain.items()}
    *_, one = train(model, x, labels, rng=0, epochs=2, **plain)
    *_, other = train(model, x, labels, rng=0, epochs=2, **scalars)
    assert other.model.dtype == dtype
    same_bytes(one.model, other.model)


def test_a_model_that_the_last_step_threw_away_is_refused_by_its_epoch():
    model, x, labels = problem(np.float32)
    settings = {"epochs": 1, "batch_size": 29, "rng": 0}
    with pytest.raises(FloatingPointError, match="validation loss is not finite after epoch 1"):
        list(train(model, x, labels, learning_rate=1e20, validation=(x, labels), **settings))
    with pytest.raises(FloatingPointError, match="weights are not finite after epoch 1"):
        list(train(model, x, labels, learning_rate=1e300, **settings))


def test_a_billion_epochs_start_at_once():
    model, x, labels = problem()
    assert next(train(model, x, labels, rng=0, epochs=10**9)).number == 1
