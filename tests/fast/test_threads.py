"""Threads: none is left, none changes a bit, and all can be stopped."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import numpy as np
import pytest

from refbilinear import BilinearLayer, n_pairs, threads
from strategies import random_array

if os.environ.get("REFBILINEAR_PURE") and find_spec("refbilinear._kernel") is None:
    pytest.skip("installed without the kernel, as REFBILINEAR_PURE asks", allow_module_level=True)
fast = importlib.import_module("refbilinear.fast")

HOME = os.path.dirname(os.path.dirname(fast.__file__))


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def form(d=64, d_out=8, n=4096):
    """Return a tensor and examples that are no small call."""
    rng = np.random.default_rng(0)
    tensor = random_array(rng, (d_out, n_pairs(d)), np.float64)
    return tensor, random_array(rng, (n, d), np.float64)


class Counter:
    """A block that marks what it covers."""

    def __init__(self, total, fail_at=None):
        self.covered, self.fail_at, self.calls = np.zeros(total, int), fail_at, []

    def __call__(self, first, last, memory, stop):
        assert memory.dtype == np.uint8
        assert not stop[0]
        self.calls.append((first, last, len(memory), threading.current_thread()))
        if self.fail_at is not None and first <= self.fail_at < last:
            raise ZeroDivisionError(first)
        self.covered[first:last] += 1


# ---- the division of work


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("total", [1, 2, 7, 24, 25, 100])
@pytest.mark.parametrize(("unit", "grain"), [(1, 1), (6, 3), (10, 10), (1000, 4)])
def test_every_part_is_computed_once(total, unit, grain, count):
    block = Counter(total)
    threads.work(block, total, unit, grain, 64, count)
    assert (block.covered == 1).all()
    for first, last, memory, thread in block.calls:
        assert first % grain == 0
        assert last - first <= max(unit, grain)
        assert memory == 64
        assert (thread is threading.current_thread()) == (count == 0)


def test_nothing_to_do_is_nothing():
    block = Counter(0)
    threads.work(block, 0, 1, 1, 64, 2)
    assert block.calls == []


def test_threads_share_the_memory():
    block = Counter(100)
    made = []

    def waiting(first, last, memory, stop):
        made.append(memory.__array_interface__["data"][0])
        block(first, last, memory, stop)

    threads.work(waiting, 100, 1, 1, threads.MEMORY // 2, 8)
    assert len(set(made)) <= 2
    threads.work(waiting, 100, 50, 1, 2 * threads.MEMORY, 8)
    assert (block.covered == 2).all()


def test_every_usable_core_is_counted(monkeypatch):
    assert threads.usable_cores() >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert threads.usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert threads.usable_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.usable_cores() == 1


# ---- failures


@pytest.mark.parametrize("count", [0, 1, 2, 8])
@pytest.mark.parametrize("fail_at", [0, 5, 19])
def test_a_workers_exception_is_the_callers(fail_at, count):
    block = Counter(20, fail_at)
    with pytest.raises(ZeroDivisionError):
        threads.work(block, 20, 1, 1, 64, count)
    assert len(block.calls) <= 20


def test_after_a_failure_nothing_new_is_begun():
    block = Counter(1000, 0)
    with pytest.raises(ZeroDivisionError):
        threads.work(block, 1000, 1, 1, 64, 1)
    assert len(block.calls) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_exceptions_of_any_kind_are_raised_again(error):
    def block(*_):
        raise error("word")

    with pytest.raises(error, match="word"):
        threads.work(block, 10, 1, 1, 64, 2)


def starting(error, number):
    """Return a Thread.start of which the given call, and all after it, fail."""
    start, calls = threading.Thread.start, []

    def started(thread):
        calls.append(thread)
        if len(calls) >= number:
            raise error("can't start new thread")
        start(thread)

    return started


@pytest.mark.parametrize("number", [1, 2])
def test_where_threads_cannot_start_the_rest_do_the_work(number, monkeypatch):
    tensor, x = form()
    want = fast.quadratic_form(tensor, x, threads=3).tobytes()
    monkeypatch.setattr(threading.Thread, "start", starting(RuntimeError, number))
    assert fast.quadratic_form(tensor, x, threads=3).tobytes() == want
    block = Counter(100)
    threads.work(block, 100, 1, 1, 64, 3)
    assert (block.covered == 1).all()


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_at_the_start_stops_those_that_run(error, number, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", starting(error, number))
    stopped = []

    def block(first, last, memory, stop):
        while not stop[0]:
            time.sleep(0.001)
        stopped.append(first)

    with pytest.raises(error):
        threads.work(block, 100, 1, 1, 64, 3)
    end = time.monotonic() + 1
    while len(stopped) < number - 1 and time.monotonic() < end:
        time.sleep(0.001)
    assert len(stopped) == number - 1
    time.sleep(0.05)


def test_an_interrupt_while_waiting_stops_the_threads(monkeypatch):
    class Interrupted(threads.SimpleQueue):
        def get(self):
            raise KeyboardInterrupt

    def block(first, last, memory, stop):
        while not stop[0]:
            time.sleep(0.001)

    monkeypatch.setattr(threads, "SimpleQueue", Interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        threads.work(block, 100, 1, 1, 64, 2)
    assert threading.active_count() == before


# ---- several callers, several processes


def test_two_callers_at_once_get_the_same_bits():
    tensor, x = form()
    want, got = fast.quadratic_form(tensor, x, threads=1).tobytes(), []

    def call():
        for _ in range(3):
            got.append(fast.quadratic_form(tensor, x, threads=2).tobytes())

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert got == [want] * 6


def test_a_small_call_makes_no_thread(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", starting(AssertionError, 1))
    tensor, x = form(d=3, n=5)
    assert fast.quadratic_form(tensor, x, threads=8).shape == (5, 8)


PROCESSES = f"""
import multiprocessing, sys
sys.path.insert(0, {HOME!r})
import numpy as np
from refbilinear import fast

def call(_):
    rng = np.random.default_rng(0)
    tensor, x = rng.uniform(-1, 1, (8, 2080)), rng.uniform(-1, 1, (4096, 64))
    return fast.quadratic_form(tensor, x, threads=2).tobytes()

if __name__ == "__main__":
    want = call(0)
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(call, range(2)) == [want, want] == [call(0), want])
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_give_the_same_bits(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROCESSES, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), method],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def run(code, **keywords):
    """Start code in a fresh interpreter."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {HOME!r})\n{code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keywords,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_fork_while_another_thread_computes():
    code = """
import os, threading
import numpy as np
from refbilinear import fast
rng = np.random.default_rng(0)
tensor, x = rng.uniform(-1, 1, (8, 2080)), rng.uniform(-1, 1, (4096, 64))
want, over = fast.quadratic_form(tensor, x, threads=2).tobytes(), []
def compute():
    while not over:
        assert fast.quadratic_form(tensor, x, threads=2).tobytes() == want
other = threading.Thread(target=compute)
other.start()
codes = []
for _ in range(5):
    child = os.fork()
    if not child:
        os._exit(7 if fast.quadratic_form(tensor, x, threads=2).tobytes() == want else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
over.append(True)
other.join()
print(codes, threading.active_count())
"""
    out, error = run(code).communicate(timeout=60)
    assert out == "[7, 7, 7, 7, 7] 1\n", error


# seconds of work each, and results of few megabytes: a virtual machine may take its time for memory
LONG = {
    "interaction_tensor": "fast.interaction_tensor(BilinearLayer(w, w, np.ones((128, 32768))), {})",
    "tensor_gradient": "fast.tensor_gradient(w, np.ones((32768, 128)), {})",
    "quadratic_form": "fast.quadratic_form(np.ones((256, 32896)), np.ones((40000, 256)), {})",
    "bilinear_form": "fast.bilinear_form(np.ones((256, 32896)), np.ones((40000, 256)), w[0], {})",
}


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", LONG)
def test_an_interrupt_ends_the_call_within_a_second(name, count):
    call = LONG[name].format(f"threads={count}")
    code = f"""
import numpy as np, threading
from refbilinear import BilinearLayer, fast
w = np.ones((32768, 256))
work = fast.work
def said(*arguments):
    print("working", flush=True)
    work(*arguments)
fast.work = said
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), flush=True)
    raise
"""
    process = run(code)
    assert process.stdout.readline() == "working\n"
    time.sleep(0.3)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert time.monotonic() - start <= 1
    assert out.endswith("interrupted 1\n"), error  # "working" again for each part of the work
    assert error.endswith("KeyboardInterrupt\n")
    assert process.returncode == -signal.SIGINT


# ---- memory


BIG = {
    "interaction_tensor": (
        "BilinearLayer(np.ones((512, 512)), np.ones((512, 512)), np.ones((64, 512)))",
        "fast.interaction_tensor(it, threads=2)",
    ),
    "quadratic_form": (
        "np.ones((2, 131328)), np.ones((10000, 512))",
        "fast.quadratic_form(*it, threads=2)",
    ),
    "bilinear_form": (
        "np.ones((2, 131328)), np.ones((5000, 1, 512)), np.ones((2, 512))",
        "fast.bilinear_form(*it, threads=2)",
    ),
    "many examples of few coordinates": (
        "np.ones((2, 1)), np.ones((2**21, 1))",
        "fast.quadratic_form(*it, threads=2)",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("name", BIG)
def test_memory_beyond_the_result_is_bounded(name):
    arguments, call = BIG[name]
    code = f"""
import numpy as np
from refbilinear import BilinearLayer, fast
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))
it = {arguments}
before = status("VmRSS")
result = {call}
print(status("VmHWM") - before - result.nbytes, status("VmPeak"))
"""
    out, error = run(code).communicate(timeout=60)
    assert error == ""
    assert int(out.split()[0]) <= threads.MEMORY


@pytest.mark.parametrize("d", [0, 1, 2, 100])
@pytest.mark.parametrize("inputs", [1, 2])
def test_the_scratch_of_one_thread_is_bounded(d, inputs, monkeypatch):
    seen = []
    monkeypatch.setattr(fast, "work", lambda *arguments: seen.append(arguments[4]))
    tensor, x = np.zeros((1, n_pairs(d))), np.broadcast_to(0.0, (2**23 // max(1, d), d))
    if inputs == 1:
        fast.quadratic_form(tensor, x)
    else:
        fast.bilinear_form(tensor, x, x[:1])
    assert seen[0] <= threads.MEMORY


def test_a_layer_takes_as_many_threads_as_asked(monkeypatch):
    seen = []
    monkeypatch.setattr(fast, "work", lambda *arguments: seen.append(arguments[5]))
    w = np.ones((300, 100))
    layer = BilinearLayer(w, w, np.ones((200, 300)))
    for count in (1, 5, None):
        fast.interaction_tensor(layer, threads=count)
    assert seen == [1, 5, fast.default_threads()]
