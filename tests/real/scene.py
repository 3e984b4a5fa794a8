"""One scenario's world for check.py: a home, a working directory and a stand-in of its own, and
clinvk run in it.  Whatever a run leaves behind fails its scenario.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from backends import ALL, BACKENDS
from standin import StandIn

# A run that takes longer than this hangs: the slowest answer is gemini's start, some seconds.
PATIENCE = 120

HELLO = ["Hello", " from", " the", " stub", "."]
ANSWER = "".join(HELLO)
PROMPT = "hi there"

# Which process belongs to which scene; every child inherits it.
MARKER = "CHECK_SCENE"


def same(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: expected {clip(repr(expected))}, got {clip(repr(actual))}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def clip(text, longest=2000):
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} [... {len(text)} characters ...] {text[-half:]}"


def files(root):
    """The files below a directory: path relative to it -> bytes."""
    found = {}
    for path in (Path(folder, name) for folder, _, names in os.walk(root) for name in names):
        try:
            if path.is_file():
                found[str(path.relative_to(root))] = path.read_bytes()
        except FileNotFoundError:
            pass  # a process of the scene has removed it since the directory was read
    return found


def processes(wanted, file):
    """Pids of the processes whose /proc/<pid>/<file> (environ, cmdline) contains these words."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted.encode() in (entry / file).read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass  # it has ended, or is not ours to look into
    return found


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(ended meanwhile)"


def parent(pid):
    """Its parent; 0 is that of one that has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def kill(pids, how=signal.SIGKILL):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)


def wait_until(condition, what, timeout=60):
    deadline = time.monotonic() + timeout
    while not condition():
        holds(time.monotonic() < deadline, f"{what}: not within {timeout} s")
        time.sleep(0.05)


@dataclass
class Ran:
    """How one run of clinvk went."""

    words: list
    out: str = ""
    err: str = ""
    status: int | None = None
    seconds: float = 0.0
    requests: list = ()  # what the stand-in received

    @property
    def asked(self):
        """How many requests of the conversation the stand-in received."""
        return sum(not request["side"] for request in self.requests)

    @property
    def object(self):
        """The object of `-o json`: alone on standard output."""
        holds(self.out.count("\n") == 1, "standard output is not one line of JSON")
        return json.loads(self.out)

    @property
    def events(self):
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def kind(self):
        """The kind of failure that the JSON object or the last event tells; "" for none."""
        try:
            last = json.loads(self.out.splitlines()[-1])
            return (last["kind"] if "kind" in last else last["content"]["kind"]) or ""
        except (ValueError, LookupError, TypeError):
            return ""

    def gives(self, out=ANSWER + "\n", err="", status=0):
        """All three at once, so that nothing is said beside the answer in silence."""
        same((self.out, self.err, self.status), (out, err, status), "(stdout, stderr, status)")

    def ends(self, status, kind):
        """The exit status, and the kind in the JSON."""
        same((self.status, self.kind), (status, kind), "(status, kind)")

    def line(self):
        """One line for the report."""
        command = " ".join(" ".join(self.words).split())
        ending = f"exit {self.status} {self.kind or '-'}, {self.asked} requests"
        return f"{self.seconds:15.2f} s  {ending}: {clip(command, 100)}"

    def report(self):
        """Everything, for a failure."""
        texts = [self.line(), f"stdout: {clip(self.out)}", f"stderr: {clip(self.err)}"]
        for request in self.requests:
            texts.append(f"received: {request['path']}{' (side)' if request['side'] else ''}")
            if not request["side"]:
                talk = request["dialect"].conversation(request["body"])
                texts.extend(f"    {role}: {clip(text, 300)!r}" for role, text in talk)
        return "\n".join(f"    {text}" for text in texts)


class Running:
    """A clinvk that was started.  Its output is read by read_until() or all at once by finish()."""

    def __init__(self, scene, process, ran, err):
        self.scene, self.process, self.ran, self._err = scene, process, ran, err
        self.out = b""
        self._since = time.monotonic()

    def _read(self, timeout):
        """One piece of the output; False at its end."""
        readable, _, _ = select.select([self.process.stdout], [], [], max(0, timeout))
        holds(readable, "clinvk said nothing more in time")
        piece = os.read(self.process.stdout.fileno(), 65536)
        self.out += piece
        return bool(piece)

    def read_until(self, wanted, timeout=60):
        """Read until wanted(output so far) holds."""
        deadline = time.monotonic() + timeout
        while not wanted(self.out):
            holds(self._read(deadline - time.monotonic()), "the output ended early")

    def wait_until(self, condition, what, timeout=60):
        """Wait for something that cannot come any more once clinvk has ended."""
        wait_until(lambda: condition() or self.process.poll() is not None, what, timeout)
        holds(condition(), f"{what}: clinvk has ended")

    def wait_asked(self):
        self.wait_until(lambda: self.scene.server.asked, "the model is asked")

    def finish(self, timeout=PATIENCE, pause=0.0):
        """Read to the end, with a pause between pieces, and see that nothing is left behind."""
        deadline = time.monotonic() + timeout
        if not self.process.stdout.closed:
            while self._read(deadline - time.monotonic()):
                time.sleep(pause)
        self.process.wait(max(1, deadline - time.monotonic()))
        self.note()
        self.scene.expect_nothing_left()
        return self.ran

    def note(self):
        """Write down what there is, once: also when the scenario failed half-way."""
        if self.ran.seconds:
            return
        self.ran.seconds = time.monotonic() - self._since
        self.ran.status = self.process.poll()
        self.ran.out = self.out.decode(errors="replace")
        self.ran.err = self._err.read_text(errors="replace")
        self.ran.requests = list(self.scene.server.requests)


class Scene:
    """The world of one scenario."""

    def __init__(self, clinvk, backend, clis):
        self.clinvk, self.backend, self._clis = str(clinvk), backend, clis
        # Not in /tmp, which codex's sandbox lets everybody write to.  Resolved, because clinvk and
        # the CLIs name directories so.
        self._root = Path(tempfile.mkdtemp(prefix="check-", dir="/var/tmp")).resolve()
        self.home, self.work, self.tmp = (self._root / name for name in ("home", "work", "tmp"))
        for folder in (self.home, self.work, self.tmp):
            folder.mkdir()
        self.marker = f"{MARKER}={uuid.uuid4().hex}"
        self.server = StandIn()
        self.environment = self._environment(self.server.url)
        self._runs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for running in self._runs:
            running.note()
            running.process.kill()
            running.process.wait()
            running.process.stdout.close()
        for pid in self.left():
            # It may have ended since.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.server.close()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def version(self):
        """The version of the backend's CLI, as numbers that can be compared."""
        return tuple(int(part) for part in self._clis.versions[self.backend.name].split("."))

    @property
    def runs(self):
        return [running.ran for running in self._runs]

    def _environment(self, url):
        """A user's clean environment, in which the vendor's CLI knows this address only."""
        name, value = self.marker.split("=")
        names = list(BACKENDS) if self.backend is ALL else [self.backend.name]
        env = self._clis.environment(names, self.home, url)
        return env | {"TMPDIR": str(self.tmp), name: value}

    def start(self, *words, prompt=PROMPT, turns=None, env={}, url=None):
        """Start clinvk with this prompt on standard input (none: an empty one)."""
        self.server.requests.clear()
        if turns is not None:
            self.server.play(*turns)
        number = len(self._runs)
        given, err = self._root / f"stdin-{number}", self._root / f"stderr-{number}"
        given.write_text(prompt or "")
        chosen = [] if self.backend is ALL else ["-b", self.backend.name]
        ran = Ran(["clinvk", *chosen, *map(str, words)])
        whole = (self._environment(url) if url else self.environment) | env
        with given.open() as stdin, err.open("wb") as stderr:
            process = subprocess.Popen(
                [self.clinvk, *ran.words[1:]], cwd=self.work, env=whole,
                stdin=stdin, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip
        self._runs.append(Running(self, process, ran, err))
        return self._runs[-1]

    def run(self, *words, timeout=PATIENCE, **how):
        return self.start(*words, **how).finish(timeout)

    def plant(self, path, text):
        """A file in the working directory, or wherever an absolute path says."""
        path = self.work / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def left(self):
        """The processes of this scene that are still there."""
        return processes(self.marker, "environ")

    def expect_nothing_left(self):
        same([command(pid) for pid in self.left()], [], "processes left behind")
        # The CLIs make folders of their own there; files and everything of ours have to be gone.
        left = [path for path in files(self.tmp) if not re.fullmatch(self.backend.litter, path)]
        same(left, [], "files left in TMPDIR")
        same([path.name for path in self.tmp.glob("clinvk*")], [], "folders left in TMPDIR")
