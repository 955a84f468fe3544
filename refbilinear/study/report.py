"""The report: one HTML file with its pictures inside, readable without a network.

A report is made of a title, a lead and sections; the words that explain a figure stand with it.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from typing import Any

from refbilinear.study.tables import Table, tables, text_table

SECTIONS = {
    "epochs": ("Training", ["training.png"]),
    "outputs": ("Outputs", ["eigenvectors.png", "spectra.png"]),
    "truncation": ("Truncation", ["truncation.png"]),
    "explained": ("Examples explained", ["explanation.png"]),
    "masks": ("Masks made of the weights", ["masks.png"]),
    "likeness": ("Likeness", ["likeness.png", "side-by-side.png"]),
    "seeds": ("Other seeds", ["seeds.png"]),
    "noise": ("Other noise", ["noise.png"]),
    "overfitting": ("Too few examples", ["overfitting.png"]),
}
"""By the name of their metrics: heading, and pictures."""

CAPTIONS = {
    "training.png": (
        "Loss and accuracy after each epoch. The training figures are met along the way, with "
        "noise on the inputs; the test examples carry none."
    ),
    "eigenvectors.png": (
        "The strongest eigenvectors of the outputs (at most sixteen): positive eigenvalues from "
        "the left, negative from the right. An input that overlaps with one, in either sign, moves "
        "the output by λ (v·x)². Orange is positive, purple negative, white zero; the overall sign "
        "of a picture means nothing."
    ),
    "spectra.png": (
        "The twenty largest eigenvalues of each output by magnitude. The effective rank "
        "(Σ|λ|)²/Σλ² says how many equal ones would be spread as these are."
    ),
    "truncation.png": (
        "Test accuracy when each output keeps only its first eigenvectors; linear and constant "
        "parts are kept whole. In model space they are those of the form behind the embedding, in "
        "input space those of the form of the inputs themselves."
    ),
    "explanation.png": (
        "An output is a sum over inputs, x_i (Qx)_i + b_i x_i, and it is a sum over eigenvectors, "
        "λ (v·x)², of which the first twenty are shown, each with the constant (and the second "
        "with the linear part) beside it. Both sums are the output itself, no approximation. Where "
        "an answer is wrong, both outputs are shown: of the right class and of the one that won."
    ),
    "masks.png": (
        "What is added to a thousand test examples alike, made of the weights alone: for each "
        "output the smallest mask that excites the eigenvector of its largest positive eigenvalue, "
        "in model space, and those of no other output. Beside it the same mask with its entries "
        "permuted, which is as strong: what it does, noise does."
    ),
    "likeness.png": (
        "Left: how far the first k eigenvectors of an output span the same subspace in both "
        "models, each output in grey. Right: the cosine of the two forms of each output."
    ),
    "side-by-side.png": (
        "The three strongest eigenvectors of the first outputs: of the first model on the left, of "
        "the second on the right. Signs mean nothing, and where eigenvalues are near each other "
        "neither do single eigenvectors."
    ),
    "seeds.png": (
        "Left: how far the first k eigenvectors of an output span the same subspace with another "
        "seed, a mean over pairs of seeds, each output in grey. Right: the cosine of the forms of "
        "each output, a point for each pair."
    ),
    "noise.png": (
        "Accuracy and effective rank against the noise in training, and below, for each noise, "
        "the eigenvector of the largest eigenvalue of each output."
    ),
    "overfitting.png": (
        "Accuracy by epoch where there are ten examples of each class, and below the eigenvector "
        "of the largest eigenvalue of each output: without noise and decay, and with them."
    ),
}


def html_report(title: str, metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    """Return the report of a study as one self-contained HTML file.

    Parameters
    ----------
    title : str
    metrics : mapping
        What `metrics.json` holds; parts that are not there are left out.
    pictures : mapping of str to bytes
        PNG files by name; none of them where matplotlib is not installed.

    Returns
    -------
    bytes
        UTF-8.
    """
    style = resources.files("refbilinear.study").joinpath("report.css").read_text("utf-8")
    body = [f"<h1>{escape(title)}</h1>", *_verdict(metrics)]
    body += [] if pictures else ["<p>Pictures need matplotlib, which was not installed.</p>"]
    body += _sections(metrics, pictures)
    body += _settings(metrics)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    ).encode("utf-8", "backslashreplace")


def text_report(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a terminal shows of a study, as lines and blocks."""
    blocks = []
    if metrics.get("test_accuracy") is not None:
        blocks.append(f"Test accuracy {metrics['test_accuracy']:.4f}")
    if "check" in metrics:
        blocks.append(check_sentence(metrics["check"]))
    for name, table in tables(metrics):
        words = f"{table.caption}\n" if name in ("likeness", "seeds") else ""
        blocks.append(f"\n{words}{text_table(table.header, table.rows)}")
    return blocks


def check_sentence(check: Mapping[str, Any]) -> str:
    """Return the verdict on the tensor in one sentence.

    Examples
    --------
    >>> check_sentence({"passed": True, "examples": 3, "worst_error": 1e-6,
    ...                 "allowed_there": 2e-5, "worst_ratio": 0.05})
    'The tensor gives the forward pass on 3 examples: worst error 1.0e-06, where rounding allows 2.0e-05 (ratio 0.05).'
    """  # noqa: E501
    verb = "gives" if check["passed"] else "DOES NOT give"
    return (
        f"The tensor {verb} the forward pass on {check['examples']} examples: worst error "
        f"{check['worst_error']:.1e}, where rounding allows {check['allowed_there']:.1e} "
        f"(ratio {check['worst_ratio']:.2g})."
        + ("" if check["passed"] else " The bound assumes that nothing under- or overflows.")
    )


def _verdict(metrics: Mapping[str, Any]) -> list[str]:
    lines = []
    if "test_accuracy" in metrics:
        lines.append(f"<p>Test accuracy: <strong>{metrics['test_accuracy']:.4f}</strong>.</p>")
    if "check" in metrics:
        failed = "" if metrics["check"]["passed"] else " failed"
        lines.append(f'<p class="verdict{failed}">{escape(check_sentence(metrics["check"]))}</p>')
    return lines


def _sections(metrics: Mapping[str, Any], pictures: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the sections that have a table or a picture."""
    of = dict(tables(metrics))
    for name, (heading, figures) in SECTIONS.items():
        body = [_table(of[name])] if name in of else []
        if name == "masks" and "none" in metrics.get(name, {}):
            body = [f"<p>There are none: {escape(metrics[name]['none'])}.</p>"]
        body += [_figure(figure, pictures[figure]) for figure in figures if figure in pictures]
        if body:
            yield "\n".join([f"<h2>{heading}</h2>", *body])


def _settings(metrics: Mapping[str, Any]) -> list[str]:
    pairs = {"version": metrics["version"], "kernel": metrics["kernel"], **metrics["settings"]}
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in pairs.items())
    return ["<h2>Made with</h2>", f'<p class="small">refbilinear, {escape(words)}</p>']


def _figure(name: str, png: bytes) -> str:
    caption, source = escape(CAPTIONS[name]), b64encode(png).decode()
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{source}">\n'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(entry)}</th>' for entry in table.header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(entry)}</td>" for entry in row) + "</tr>"
        for row in table.rows
    )
    return (
        '<figure><div class="scroll" tabindex="0"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>\n"
        f"<figcaption>{escape(table.caption)}</figcaption></figure>"
    )
