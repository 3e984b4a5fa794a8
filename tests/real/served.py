"""One client's world for clients.py: servers of the real binary, the model behind the vendors' CLIs, and the client
itself.  Whatever a scenario leaves running fails it.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import vendor
from scene import MARKER, clip, command, holds, processes, same, wait_until
from standin import Failure, StandIn, Text, tool, write_file

# A scenario that takes longer hangs.
PATIENCE = 90

# What clients are given as their key.
KEY = "a-key-of-ours"

# The servers by name: what is in their configuration besides.
ECHO = {
    "echo": {"delay_ms": 50},
    "locked": {},
    "quota": {"fail": "quota"},
    "overloaded": {"fail": "overloaded"},
    "login": {"fail": "login"},
    "crash": {"fail": "crash"},
    "hanging": {"hang": True},
    # A part of the answer comes, and then there is an end of it.
    "breaking": {"delay_ms": 20, "exit_code": 9},
    # An answer of a thousand words takes longer than PATIENCE.
    "slow": {"delay_ms": 300},
}
VENDORS = "vendors"


def configuration(name):
    if name == VENDORS:
        return {"default_backend": "claude"}
    # Only "hanging" gets that far.
    server = {"request_timeout_secs": 2} if name == "hanging" else {}
    return {"default_backend": "echo", "backends": {"echo": ECHO[name]}, "server": server}


def configure(name, home):
    (home / ".clinvk").mkdir(parents=True)
    (home / ".clinvk" / "config.json").write_text(json.dumps(configuration(name)))


def is_kept(pid, servers):
    """Whether a process belongs to the group of a program that one of these servers has started: it is kept for further runs."""

    def stat(pid):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

    try:
        leader = int(stat(pid)[2])
        return int(stat(leader)[1]) in servers
    except OSError:
        return False  # it has ended


@dataclass
class Result:
    """What came of one scenario."""

    name: str
    problem: str
    seconds: float


class Server:
    """A `clinvk serve` that listens on a port of its own."""

    def __init__(self, clinvk, name, home, env):
        self.home = home
        configure(name, home)
        self._log = home / "log"
        words = [clinvk, "serve", "--port", "0", "--log-format", "json"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                words, cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        said = ""
        while "Press Ctrl+C to stop" not in said:
            line = self.process.stdout.readline()
            holds(line, f"server {name} does not start: {said} {self._log.read_text()}")
            said += line
        self.url = said.partition("listens on ")[2].split()[0]

    def count(self, what):
        """How many runs or requests there were.  claude's HEAD before each start is none."""
        return sum(line.get("message") == what and line.get("method") != "HEAD" for line in self.log())

    def log(self):
        lines = self._log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def tail(self):
        """The end of the log, short."""
        facts = ("request_id", "method", "path", "status", "backend", "kind", "duration_ms")
        lines = [" ".join(str(line[fact]) for fact in facts if fact in line) for line in self.log()[-4:]]
        return "\n".join(["", *(f"    {line}" for line in lines)])

    def stop(self):
        self.process.terminate()
        status = self.process.wait(30)
        self.process.stdout.close()
        same(status, 0, "status of a server that was told to stop")


class Served:
    """The world of one client."""

    def __init__(self, clinvk, name, words, environment, clis):
        self._clinvk, self.name, self._clis = str(clinvk), name, clis
        self._root = Path(tempfile.mkdtemp(prefix="clients-", dir="/var/tmp")).resolve()
        self.home, self.tmp = self._root / "home", self._root / "tmp"
        for folder in (self.home, self.tmp):
            folder.mkdir()
        variable, value = MARKER, uuid.uuid4().hex
        self.marker = f"{variable}={value}"
        self._common = {"LANG": "C.UTF-8", "TMPDIR": str(self.tmp), variable: value}
        self._servers = {}
        self._model = StandIn(Text())
        self._heard = []
        self._counted = {"run": 0, "request": 0}
        self._err = self._root / "stderr"
        env = {"HOME": str(self.home), "PATH": "/usr/bin:/bin"} | environment | self._common
        with self._err.open("wb") as err:
            self._client = subprocess.Popen(
                words, cwd=self.home, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err
            )
        self._read = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.kill()
        self._client.wait()
        for pipe in (self._client.stdin, self._client.stdout):
            pipe.close()
        for server in self._servers.values():
            server.process.kill()
            server.process.wait()
            server.process.stdout.close()
        for pid in self._others():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._model.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def results(self):
        """Answer what the client asks, and give what came of each scenario."""
        begun, played = "start", 0
        while True:
            try:
                asked = self._line()
                match asked:
                    case {"begins": name}:
                        begun = name
                    case {"server": name}:
                        self._answer(url=self._server(name).url)
                    case {"agent": name}:
                        self._answer(**self._agent(name))
                    case {"turns": turns}:
                        self._play(turns)
                        self._answer()
                    case {"heard": _}:
                        self._answer(**self._last_request())
                    case {"scenario": name, "seconds": seconds}:
                        played += 1
                        judged = self._judge(asked["runs"], asked["requests"])
                        problem = asked["problem"] or judged
                        self._begin_anew()
                        yield Result(name, problem, seconds)
                        self._answer()
                    case {"scenarios": count}:
                        same(count, played, "scenarios")
                        break
            except AssertionError as error:
                yield Result(begun, f"{error}\n{clip(self._err.read_text(errors='replace'))}", PATIENCE)
                return
        yield Result("leaves-nothing", self._end(), 0)

    # -- the line to the client

    def _line(self):
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._read:
            readable, _, _ = select.select([self._client.stdout], [], [], max(0, deadline - time.monotonic()))
            holds(readable, f"the client says nothing for {PATIENCE} s")
            piece = os.read(self._client.stdout.fileno(), 65536)
            holds(piece, "the client ended early")
            self._read += piece
        line, _, self._read = self._read.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            raise AssertionError(f"the client said: {line[:300]}") from None

    def _answer(self, **what):
        self._client.stdin.write(json.dumps(what).encode() + b"\n")
        self._client.stdin.flush()

    # -- what it asks for

    def _server(self, name):
        if name not in self._servers:
            home = self._root / name
            keys = {"CLINVK_API_KEYS": KEY} if name == "locked" else {}
            self._servers[name] = Server(self._clinvk, name, home, self._environment(name, home) | keys)
        return self._servers[name]

    def _agent(self, name):
        home = self._root / f"agent-{name}"
        folder = home / "work"
        if not folder.exists():
            folder.mkdir(parents=True)
            configure(name, home)
        return {"command": [self._clinvk, "acp"], "env": self._environment(name, home), "folder": str(folder)}

    def _environment(self, name, home):
        # Without the CLIs nothing but echo is installed.
        clis = self._clis.environment(list(vendor.PACKAGES), home, self._model.url) if name == VENDORS else {}
        return {"HOME": str(home), "PATH": "/usr/bin:/bin"} | clis | self._common

    def _play(self, turns):
        self._model.requests.clear()
        self._model.play(*(turn for each in turns for turn in turns_of(each)))
        self._model.release(sum(each.get("let", 0) for each in turns if isinstance(each, dict)))

    def _last_request(self):
        said, system = self._model.conversation(), self._model.system_text()
        body = json.dumps(self._model.asked[-1]["body"])
        return {"said": said, "system": system, "body": body, "model": self._model.model()}

    # -- what a scenario has to leave behind

    def _count(self, what):
        return sum(server.count(what) for server in self._servers.values())

    def _judge(self, runs, requests):
        """What is wrong after a scenario that went well; "" for nothing."""
        wanted = {"run": runs, "request": requests}
        try:
            for what, number in wanted.items():
                if number is None:
                    continue
                # A line is written after its answer: the last one may be on its way.
                enough = lambda what=what, number=number: self._count(what) >= self._counted[what] + number
                with contextlib.suppress(AssertionError):
                    wait_until(enough, what, 20)
                same(self._count(what) - self._counted[what], number, f"{what}s of the server")
            # Nobody waits for the end of a process to have the answer.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not self._others(), "the end of all processes", 20)
            same([command(pid) for pid in self._others()], [], "processes left behind")
        except AssertionError as error:
            return "\n".join([str(error), *(f"{name}: {server.tail()}" for name, server in self._servers.items())])
        return ""

    def _begin_anew(self):
        self._counted = {what: self._count(what) for what in self._counted}

    def _others(self):
        """The processes of this world that are neither the client nor a server."""
        servers = {server.process.pid for server in self._servers.values()}
        known = {self._client.pid, *servers}
        return [pid for pid in processes(self.marker, "environ") if pid not in known and not is_kept(pid, servers)]

    def _end(self):
        """What is wrong when the client has ended and the servers do; "" for nothing."""
        try:
            self._client.stdin.close()
            same(self._client.wait(30), 0, "status of the client")
            for server in self._servers.values():
                server.stop()
                broken = [line for line in server.log() if line.get("level") == "error"]
                same(broken, [], "errors in a server's log")
            same([command(pid) for pid in self._others()], [], "processes left behind")
            same([path.name for path in self.tmp.glob("clinvk*")], [], "folders left in TMPDIR")
        except (AssertionError, subprocess.TimeoutExpired) as error:
            return str(error)
        return ""


def turns_of(given):
    """The turns of the stand-in that a client asks for."""
    match given:
        case {"json": value, "by": "claude"}:
            # It has a tool for such answers.
            return [tool("StructuredOutput", value), Text("Done.")]
        case {"json": value}:
            return [Text([json.dumps(value)])]
        case {"writes": path}:
            return [write_file(path, "written\n")]
        case {"gated": pieces}:
            return [Text(pieces, gated=True)]
        case {"fails": status}:
            return [Failure(status)]
        case [*pieces]:
            return [Text(pieces)]
