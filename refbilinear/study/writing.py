"""What a command writes and prints: a folder with a report, or tables, or JSON.

Tables go to standard output, everything said on the way to standard error.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from refbilinear.spec.arrays import Array
from refbilinear.study import report
from refbilinear.study.extras import INSTALL, Talk, installed, note
from refbilinear.study.files import npz_bytes, staged_folder, write_file
from refbilinear.study.findings import OutputFinding
from refbilinear.study.sections import Section

SCHEMA = "refbilinear-study-1"
REPORT_FILES = {"report.html", "metrics.json", "spectrum.npz", *report.CAPTIONS}
STUDY_FILES = {"model.npz", *REPORT_FILES}
SIGNATURE = ("metrics.json", f'"schema": "{SCHEMA}"')


def study_folder(out: Path) -> AbstractContextManager[Path]:
    """Give the folder of a study to fill."""
    return staged_folder(out, STUDY_FILES, SIGNATURE)


def report_folder(out: Path | None) -> AbstractContextManager[Path | None]:
    """Give the folder of a report to fill, if one is asked for."""
    return nullcontext() if out is None else staged_folder(out, REPORT_FILES, SIGNATURE)


def merged(sections: Iterable[Section]) -> dict[str, Any]:
    """Return the metrics of all sections."""
    metrics: dict[str, Any] = {}
    for section in sections:
        metrics |= section.metrics
    return metrics


def fill(
    folder: Path, title: str, metrics: Mapping[str, Any], sections: Sequence[Section], talk: Talk
) -> None:
    """Write report, metrics and pictures into a folder."""
    pictures = _drawn(sections, talk)
    write_file(folder / "report.html", report.html_report(title, metrics, pictures))
    write_file(folder / "metrics.json", _json(metrics).encode())
    for name, png in pictures.items():
        write_file(folder / name, png)


def _drawn(sections: Sequence[Section], talk: Talk) -> dict[str, bytes]:
    """Return all pictures; none, with a note, without matplotlib."""
    if not installed("matplotlib"):
        note(f"no pictures: they need matplotlib: {INSTALL}", talk)
        return {}
    return {name: draw() for section in sections for name, draw in section.pictures.items()}


def spectrum_bytes(findings: Sequence[OutputFinding]) -> bytes:
    """Return all forms and spectra, stacked over outputs, as an .npz."""
    return npz_bytes(
        {
            "outputs": np.array([found.output for found in findings]),
            "eigenvalues": _stacked(found.spectrum.eigenvalues for found in findings),
            "eigenvectors": _stacked(found.spectrum.eigenvectors for found in findings),
            "linear": _stacked(found.form.linear for found in findings),
            "constant": _stacked(found.form.constant for found in findings),
        }
    )


def _stacked(arrays: Iterable[Any]) -> Array:
    return np.stack(list(arrays))


def tell(metrics: Mapping[str, Any], out: Path | None, talk: Talk) -> None:
    """Print the result: JSON for a program, tables for a person, nothing when quiet."""
    if talk.as_json:
        print(_json(metrics))
    elif not talk.quiet:
        print("\n".join(report.text_report(metrics)))
        if out is not None:
            print(f"Written to {out}: open {out / 'report.html'}")


def _json(metrics: Mapping[str, Any]) -> str:
    return json.dumps(metrics, indent=1, allow_nan=False)
