"""The report: one HTML file with its pictures inside, readable without a network.

A report is made of a title, a lead and sections; the words that explain a figure stand with it.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

CAPTIONS = {
    "training.png": (
        "Training",
        "Loss and accuracy after each epoch. The training figures are met along the way, with "
        "noise on the inputs; the test examples carry none.",
    ),
    "eigenvectors.png": (
        "Eigenvectors",
        "The strongest eigenvectors of each output: positive eigenvalues from the left, negative "
        "from the right. An input that overlaps with one, in either sign, moves the output by "
        "λ (v·x)². Orange is positive, purple negative, white zero; the overall sign of a "
        "picture means nothing.",
    ),
    "spectra.png": (
        "Spectra",
        "The eigenvalues of each output by magnitude. The effective rank (Σ|λ|)²/Σλ² says how "
        "many equal ones would be spread as these are.",
    ),
    "truncation.png": (
        "Truncation",
        "Test accuracy when each output keeps only its first eigenvectors; linear and constant "
        "parts are kept whole.",
    ),
    "explanation.png": (
        "One example explained",
        "The output is a sum over inputs, x_i (Qx)_i + b_i x_i, and it is a sum over eigenvectors, "
        "λ (v·x)², each with the constant (and the second with the linear part) beside it. Both "
        "are the output itself, not an approximation.",
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
    body = [f"<h1>{escape(title)}</h1>", *_verdict(metrics), *_outputs(metrics["outputs"])]
    body += _truncation(metrics.get("truncation", ()))
    body += [_figure(name, png) for name, png in pictures.items()]
    body += [] if pictures else ["<p>Pictures need matplotlib, which was not installed.</p>"]
    body += _settings(metrics)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    ).encode()


def text_report(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a terminal shows of a study, as lines and blocks."""
    blocks = []
    if metrics.get("test_accuracy") is not None:
        blocks.append(f"Test accuracy {metrics['test_accuracy']:.4f}")
    if "check" in metrics:
        blocks.append(check_sentence(metrics["check"]))
    if "outputs" in metrics:
        blocks.append("\n" + text_table(*output_rows(metrics["outputs"])))
    if "truncation" in metrics:
        blocks.append("\n" + text_table(*truncation_rows(metrics["truncation"])) + "\n")
    return blocks


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal, every column as wide as its widest entry, right-aligned.

    Examples
    --------
    >>> print(text_table(["k", "accuracy"], [["1", "0.5000"], ["10", "0.9750"]]))
     k  accuracy
     1    0.5000
    10    0.9750
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(entry.rjust(width) for entry, width in zip(line, widths, strict=True))
        for line in [header, *rows]
    )


def output_rows(outputs: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of outputs, as strings; λ1 is the largest."""
    leading = [f"λ{k}" for k in range(1, len(outputs[0]["eigenvalues"]) + 1)]
    header = ["output", *leading, "λ > 0", "λ < 0", "effective rank", "|linear|", "constant"]
    return header, [_output_row(output) for output in outputs]


def truncation_rows(
    truncation: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of truncated accuracies, as strings."""
    rows = [[str(entry["k"]), f"{entry['accuracy']:.4f}"] for entry in truncation]
    return ["eigenvectors", "accuracy"], rows


def check_sentence(check: Mapping[str, Any]) -> str:
    """Return the verdict on the tensor in one sentence.

    Examples
    --------
    >>> check_sentence({"passed": True, "examples": 3, "worst_error": 1e-6,
    ...                 "allowed_there": 2e-5, "worst_ratio": 0.05})
    'The tensor gives the forward pass on all 3 examples: worst error 1.0e-06, where rounding allows 2.0e-05 (ratio 0.05).'
    """  # noqa: E501
    verb = "gives" if check["passed"] else "DOES NOT give"
    return (
        f"The tensor {verb} the forward pass on all {check['examples']} examples: worst error "
        f"{check['worst_error']:.1e}, where rounding allows {check['allowed_there']:.1e} "
        f"(ratio {check['worst_ratio']:.2g})."
        + ("" if check["passed"] else " The bound assumes that nothing under- or overflows.")
    )


def _output_row(output: Mapping[str, Any]) -> list[str]:
    return [
        str(output["output"]),
        *(f"{value:+.3g}" for value in output["eigenvalues"]),
        str(output["positive"]),
        str(output["negative"]),
        f"{output['effective_rank']:.2f}",
        f"{output['linear_norm']:.3g}",
        f"{output['constant']:.3g}",
    ]


def _verdict(metrics: Mapping[str, Any]) -> list[str]:
    lines = []
    if "test_accuracy" in metrics:
        lines.append(f"<p>Test accuracy: <strong>{metrics['test_accuracy']:.4f}</strong>.</p>")
    if "check" in metrics:
        failed = "" if metrics["check"]["passed"] else " failed"
        lines.append(f'<p class="verdict{failed}">{escape(check_sentence(metrics["check"]))}</p>')
    return lines


def _outputs(outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    note = (
        "The largest eigenvalues by magnitude. The counts of positive and negative ones leave out "
        "what rounding could make."
    )
    return ["<h2>Outputs</h2>", _table(*output_rows(outputs), caption=note)]


def _truncation(truncation: Sequence[Mapping[str, Any]]) -> list[str]:
    if not truncation:
        return []
    caption = "Test accuracy with the first eigenvectors of each output."
    return ["<h2>Truncated</h2>", _table(*truncation_rows(truncation), caption=caption)]


def _settings(metrics: Mapping[str, Any]) -> list[str]:
    pairs = {"version": metrics["version"], "kernel": metrics["kernel"], **metrics["settings"]}
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in pairs.items())
    return ["<h2>Made with</h2>", f'<p class="small">refbilinear, {escape(words)}</p>']


def _figure(name: str, png: bytes) -> str:
    heading, caption = CAPTIONS[name]
    source = b64encode(png).decode()
    return (
        f'<h2>{heading}</h2>\n<figure><img alt="{escape(caption)}" '
        f'src="data:image/png;base64,{source}">\n<figcaption>{escape(caption)}</figcaption></figure>'
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    head = "".join(f'<th scope="col">{escape(entry)}</th>' for entry in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(entry)}</td>" for entry in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table>\n<caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
