"""Files fetched from the network once, and kept if their checksums are right."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from refbilinear.study.extras import need, progress

TIMEOUT_SECONDS = 30.0  # to connect, and again for the next bytes
LARGEST_BYTES = 2**28
CHUNK_BYTES = 2**20


def fetch(files: Mapping[str, str], sources: Sequence[str], folder: Path) -> list[Path]:
    """Return the paths of files in `folder`, after downloading those that are not rightly there.

    Parameters
    ----------
    files : mapping of str to str
        The name of each file, with its SHA-256 in hexadecimal digits.
    sources : sequence of str
        Addresses that end in "/" and hold all of the files; the next is tried if one fails.
    folder : pathlib.Path
        Made where it is not. A file appears in it whole and right, or not at all.

    Returns
    -------
    list of pathlib.Path
        In the order of `files`.

    Raises
    ------
    OSError
        If no source gave a file: what happened at each, and what to do. A source fails when
        nothing came from it for 30 seconds, among other ways.
    ImportError
        If pooch is not installed.
    """
    with _quiet():
        return [_fetch(name, digest, sources, folder) for name, digest in files.items()]


def _fetch(name: str, digest: str, sources: Sequence[str], folder: Path) -> Path:
    pooch = need("pooch", "downloading")
    failures = []
    for url in (source + name for source in sources):
        try:
            return Path(pooch.retrieve(url, digest, name, folder, downloader=_download))
        except (OSError, ValueError) as error:  # ValueError is pooch's for a wrong checksum
            failures.append(f"{url}: {error}")
    raise OSError(
        f"{name} could not be downloaded into {folder} ({'; '.join(failures)}): try again, or put "
        f"it into the folder {folder.name} of a folder that REFBILINEAR_DATA names"
    )


def _download(url: str, path: str, _: None) -> None:
    """Write what an address gives, as pooch wants it written: beside the file, to be checked.

    Unlike pooch's own downloader it closes the connection whatever happens, and knows an end.
    """
    requests = need("requests", "downloading")
    with (
        requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as answer,
        open(path, "wb") as file,
    ):
        answer.raise_for_status()
        total = -(-int(answer.headers.get("content-length", 0)) // CHUNK_BYTES)
        chunks = answer.iter_content(CHUNK_BYTES)
        for chunk in progress(chunks, total, f"{url.rpartition('/')[2]}, MiB", quiet=False):
            file.write(chunk)
            if file.tell() > LARGEST_BYTES:
                raise OSError(f"it is larger than {LARGEST_BYTES} bytes")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pooch from telling standard error of each file."""
    logger = need("pooch", "downloading").get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)
