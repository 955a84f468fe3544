import contextlib
import hashlib
import resource
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from refbilinear.study import downloads
from refbilinear.study.downloads import fetch

pooch = pytest.importorskip("pooch")

LENGTH = 2_500_000
CONTENT = np.random.default_rng(0).bytes(LENGTH)
FILES = {"images.gz": hashlib.sha256(CONTENT).hexdigest()}


def send(to, content, length=LENGTH, encoding="identity"):
    to.send_response(200)
    to.send_header("Content-Length", str(length))
    to.send_header("Content-Encoding", encoding)
    to.end_headers()
    to.wfile.write(content)


def stall(to):
    send(to, CONTENT[:1_500_000])
    to.server.over.wait()


def interrupt(to):
    """Press Ctrl-C when half of the file is on the disk."""
    send(to, CONTENT[:1_500_000])
    while not any(file.stat().st_size for file in to.server.folder.iterdir()):
        if to.server.over.wait(0.01):
            return
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    to.server.over.wait()


def move(to, where):
    to.send_response(302)
    to.send_header("Location", where)
    to.end_headers()


ANSWERS = {
    "right": lambda to: send(to, CONTENT),
    "moved": lambda to: move(to, "/right/images.gz"),
    "cut": lambda to: send(to, CONTENT[:1_500_000]),
    "wrong": lambda to: send(to, CONTENT[:-1] + b"\0"),
    "nothing": lambda to: send(to, b"", length=0),
    "missing": lambda to: to.send_error(404),
    "broken": lambda to: to.send_error(500),
    "round": lambda to: move(to, "/round/images.gz"),
    "file": lambda to: move(to, "file:///etc/hostname"),
    "silent": lambda to: to.server.over.wait(),
    "stalling": stall,
    "no http": lambda to: to.wfile.write(b"hello\r\n\r\n"),
    "no length": lambda to: send(to, CONTENT, length="many"),
    "no gzip": lambda to: send(to, CONTENT, encoding="gzip"),
    "interrupted": interrupt,
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        with contextlib.suppress(ConnectionError):  # who asked may have gone
            ANSWERS[self.path.split("/")[1].replace("%20", " ")](self)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # so that closing waits for them
        server.asked, server.over = [], threading.Event()
        server.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def sources(server, *answers):
    return [f"{server.base}/{answer}/" for answer in answers]


def names(folder):
    return [entry.name for entry in folder.iterdir()]


@pytest.mark.parametrize("answer", ["right", "moved"])
def test_a_file_is_downloaded_once_and_quietly(tmp_path, server, capsys, answer):
    folder = tmp_path / "cache" / "set"
    paths = fetch(FILES, sources(server, answer), folder)
    assert paths == [folder / "images.gz"]
    assert paths[0].read_bytes() == CONTENT
    server.asked.clear()
    assert fetch(FILES, sources(server, answer), folder) == paths
    assert server.asked == []
    assert names(folder) == ["images.gz"]
    assert capsys.readouterr() == ("", "")


def test_a_wrong_file_in_the_cache_is_downloaded_again(tmp_path, server):
    (tmp_path / "images.gz").write_bytes(b"wrong")
    fetch(FILES, sources(server, "right"), tmp_path)
    assert (tmp_path / "images.gz").read_bytes() == CONTENT
    assert names(tmp_path) == ["images.gz"]


def test_several_files_come_in_their_order(tmp_path, server, monkeypatch):
    monkeypatch.setitem(ANSWERS, "both", lambda to: send(to, to.path.encode(), length=len(to.path)))
    files = {
        name: hashlib.sha256(f"/both/{name}".encode()).hexdigest() for name in ("z.gz", "a.gz")
    }
    assert fetch(files, sources(server, "both"), tmp_path) == [tmp_path / "z.gz", tmp_path / "a.gz"]
    assert (tmp_path / "z.gz").read_bytes() == b"/both/z.gz"


FAILURES = {
    "cut": "IncompleteRead",
    "wrong": "does not match the known hash: expected",
    "nothing": "does not match the known hash: expected",
    "missing": "404 Client Error",
    "broken": "500 Server Error",
    "round": "Exceeded 30 redirects",
    "file": "No connection adapters were found",
    "silent": "Read timed out",
    "stalling": "Read timed out",
    "no http": "hello",
    "no length": "invalid literal for int",
    "no gzip": "failed to decode it",
}


@pytest.mark.parametrize("answer", FAILURES)
def test_a_source_that_fails_is_named_in_time_and_leaves_nothing(
    tmp_path, server, monkeypatch, capsys, answer
):
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
    folder = tmp_path / "set"
    started = time.perf_counter()
    words = (
        rf"images\.gz could not be downloaded into .*set \({server.base}/{answer}/images\.gz: "
        rf".*{FAILURES[answer]}.*\): try again, or put it into the folder set of a folder that "
        "REFBILINEAR_DATA names"
    )
    with pytest.raises(OSError, match=words):
        fetch(FILES, sources(server, answer), folder)
    assert time.perf_counter() - started < 5
    assert names(folder) == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("answer", FAILURES)
def test_the_next_source_is_tried(tmp_path, server, monkeypatch, answer):
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
    (path,) = fetch(FILES, sources(server, answer, "right"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert names(tmp_path) == ["images.gz"]


def test_every_source_that_failed_is_named(tmp_path, server):
    with pytest.raises(OSError, match=r"/missing/images\.gz: 404 .*; http.*/broken/.*: 500 "):
        fetch(FILES, sources(server, "missing", "broken"), tmp_path)


def test_nobody_listens(tmp_path, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r"images\.gz could not be downloaded"):
            fetch(FILES, [f"http://127.0.0.1:{unused.getsockname()[1]}/"], tmp_path)
    assert names(tmp_path) == []


def test_a_file_without_end_is_refused(tmp_path, server, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST_BYTES", 2_000_000)
    with pytest.raises(OSError, match="it is larger than 2000000 bytes"):
        fetch(FILES, sources(server, "right"), tmp_path)
    assert names(tmp_path) == []


@pytest.fixture
def small_disk():
    """Files of this process cannot grow beyond 2 MB: like a full disk, for whoever writes them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing(tmp_path, server, small_disk):
    with pytest.raises(OSError, match=r"images\.gz could not be downloaded .*File too large"):
        fetch(FILES, sources(server, "right"), tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path, server):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"images\.gz could not be downloaded into .*file/set"):
        fetch(FILES, sources(server, "right"), tmp_path / "file" / "set")


def test_ctrl_c_leaves_nothing(tmp_path, server):
    server.folder = tmp_path
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch(FILES, sources(server, "interrupted"), tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert names(tmp_path) == []


def test_a_terminal_shows_how_far_it_is(tmp_path, server, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fetch(FILES, sources(server, "right"), tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    assert "images.gz, MiB" in err
    assert "0/3 [" in err


def test_what_pooch_tells_others_stays_as_it_was(tmp_path, server):
    level = pooch.get_logger().level
    fetch(FILES, sources(server, "right"), tmp_path)
    with pytest.raises(OSError, match="404"):
        fetch(FILES, sources(server, "missing"), tmp_path / "other")
    assert pooch.get_logger().level == level


def test_without_pooch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"needs pooch, .*: pip install 'refbilinear\[study\]'"):
        fetch(FILES, [], tmp_path)
