#!/usr/bin/env python3
"""Two servers that share their home, behind haproxy with the configuration of clinvk-api(7); and what a turn costs the store.

    check_several.py CLINVK
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from scene import holds, same, wait_until
from server import listens

MANUAL = Path(__file__).parents[2] / "man" / "clinvk-api.7"

# It is no program for users.
HAPROXY = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")

# Answers a word each time that it is let go on.
GATED = 'read -r prompt; for word in one two three; do printf "%s " $word; echo >"$0.said"; read -r go <"$0.go"; done'

CONFIG = {
    "default_backend": "cat",
    "backends": {"cat": {"command": ["cat"]}},
    "server": {"trusted_proxies": ["127.0.0.1"], "drain_secs": 60},
}


def configuration(frontend, servers):
    """The manual's, with these places in the place of its own."""
    text = MANUAL.read_text()
    literal = re.search(r"haproxy\.cfg :\n\.Bd [^\n]*\n(.*?)\n\.Ed", text, re.DOTALL)
    holds(literal, "clinvk-api(7) has no haproxy.cfg")
    lines = literal[1].replace("127.0.0.1:8080", frontend)
    for number, server in enumerate(servers, 1):
        lines = lines.replace(f"10.0.0.{number}:8080", server)
    holds("10.0.0." not in lines, f"places that are not ours:\n{lines}")
    return lines + "\n"


class Servers:
    """Servers `one` and `two` in one home, with haproxy in front of them."""

    def __init__(self, clinvk, root):
        self.clinvk, self.root, self.home = os.path.abspath(clinvk), root, root / "home"
        self.home.mkdir()
        gated = root / "gated"
        for end in ("said", "go"):
            os.mkfifo(f"{gated}.{end}")
        config = CONFIG | {"backends": CONFIG["backends"] | {"gated": {"command": ["sh", "-c", GATED, str(gated)]}}}
        (self.home / "config.json").write_text(json.dumps(config))
        self.processes, self.urls = {}, {}
        for name in ("one", "two"):
            self.start(name)

    def start(self, name):
        """Start it, the second time where it was."""
        port = self.urls[name].rpartition(":")[2] if name in self.urls else "0"
        env = {"HOME": str(self.root), "PATH": "/usr/bin:/bin", "TMPDIR": str(self.root), "CLINVK_HOME": str(self.home)}
        words = [self.clinvk, "serve", "--port", port, "--log-format", "json"]
        log = (self.root / f"log-{name}").open("a+")
        process = subprocess.Popen(
            words, env=env, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
        self.processes[name] = process
        self.urls[name] = listens(process, log)

    def lines(self, name, message):
        lines = (self.root / f"log-{name}").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["message"] == message]

    @contextlib.contextmanager
    def behind_haproxy(self):
        """Give its address, and the function that says how haproxy has found a server."""
        extra, control = self.root / "extra.cfg", self.root / "control"
        extra.write_text(f"global\n    stats socket {control} mode 600 level admin\n")
        config = self.root / "haproxy.cfg"

        def found(name):
            with socket.socket(socket.AF_UNIX) as stats:
                stats.connect(str(control))
                stats.sendall(b"show stat\n")
                rows = b"".join(iter(lambda: stats.recv(65536), b"")).decode()
            names, *rows = [line.lstrip("# ").split(",") for line in rows.splitlines() if line]
            rows = [dict(zip(names, row, strict=False)) for row in rows]
            return next(row["status"] for row in rows if row["svname"] == name)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            config.write_text(
                configuration(f"fd@{listener.fileno()}", [url.removeprefix("http://") for url in self.urls.values()])
            )
            words = [HAPROXY, "-db", "-f", str(extra), "-f", str(config)]
            with (self.root / "haproxy.log").open("w+") as log:
                haproxy = subprocess.Popen(
                    words, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
                try:
                    up = lambda: control.exists() and all(found(name).startswith("UP") for name in self.urls)
                    said = lambda: (self.root / "haproxy.log").read_text()
                    wait_until(lambda: haproxy.poll() is not None or up(), "haproxy has found both")
                    holds(haproxy.poll() is None, f"haproxy ended: {said()}")
                    yield listener.getsockname(), found
                finally:
                    haproxy.terminate()
                    haproxy.wait(60)

    def end(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
            process.stdout.close()


class Client:
    """A client of the balancer: a connection for each request, so that each may go to the other server."""

    def __init__(self, place, source="127.0.0.1"):
        self.place, self.source = place, source

    def begin(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(*self.place, timeout=120, source_address=(self.source, 0))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, json.dumps(body) if body else None, named | {"Connection": "close"})
        return connection.getresponse()

    def ask(self, method, path, body=None, **headers):
        answer = self.begin(method, path, body, **headers)
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else text

    def prompt(self, prompt, session=None):
        body = {"prompt": prompt} | ({"session_id": session} if session else {})
        status, told = self.ask("POST", "/api/v1/prompt", body)
        same(status, 200, f"status of {prompt!r}: {told}")
        return told

    def turns(self, session):
        status, told = self.ask("GET", f"/api/v1/sessions/{session}/turns")
        same(status, 200, f"status of the turns: {told}")
        return [turn["prompt"] for turn in told["turns"]]


def sessions_move(servers, client, _found):
    """Each turn knows those before it, and both servers have had some."""
    before = {name: len(servers.lines(name, "run")) for name in servers.urls}
    session = client.prompt("turn 1")["session_id"]
    for number in range(2, 9):
        told = client.prompt(f"turn {number}", session)
        holds(f"turn {number - 1}" in told["content"], f"turn {number} knows nothing of the one before: {told}")
    same(client.turns(session), [f"turn {number}" for number in range(1, 9)], "turns")
    ran = lambda: {name: len(servers.lines(name, "run")) - before[name] for name in servers.urls}
    wait_until(lambda: sum(ran().values()) == 8, "a line for each run")
    holds(min(ran().values()) > 0, f"one server has had all turns: {ran()}")
    same(client.ask("DELETE", f"/api/v1/sessions/{session}")[0], 200, "status of the removal")
    for _ in range(2):
        same(client.ask("GET", f"/api/v1/sessions/{session}")[0], 404, "status of one that is removed")
    return f"8 turns of one session on {ran()}"


def pieces(servers, answer):
    """Read three pieces, of which each is there before the next one is made; then the rest."""
    gate = f"{servers.root / 'gated'}"
    for word in ("one", "two", "three"):
        with open(f"{gate}.said") as said:
            said.read()
        read = ""
        while f'"{word} ' not in read:
            line = answer.readline().decode()
            holds(line, f"the stream ended before {word}: {read}")
            read += line
        with open(f"{gate}.go", "w") as go:
            go.write("go\n")
    return answer.read().decode()


GATED_REQUESTS = {
    "/api/v1/prompt": {"prompt": "x", "backend": "gated"},
    "/openai/v1/chat/completions": {"model": "gated", "stream": True, "messages": [{"role": "user", "content": "x"}]},
}


def streams_pass(servers, client, _found):
    for path, body in GATED_REQUESTS.items():
        answer = client.begin("POST", path, body, Accept="text/event-stream")
        same(answer.status, 200, f"status of {path}")
        rest = pieces(servers, answer)
        holds("done" in rest.lower(), f"{path} ends with {rest}")
    return "each piece of a stream is there before the next one is made"


def addresses_are_believed(servers, client, _found):
    """What haproxy says of a client's address counts, what the client says does not."""
    elsewhere = Client(client.place, "127.0.0.2")
    status, _ = elsewhere.ask("GET", "/api/v1/backends/cat", X_Forwarded_For="192.0.2.66")
    same(status, 200, "status")
    seen = lambda: {
        line["client"]
        for name in servers.urls
        for line in servers.lines(name, "request")
        if line["path"] == "/api/v1/backends/cat"
    }
    wait_until(seen, "the line of the request")
    same(seen(), {"127.0.0.2"}, "clients in the log")
    return "x-forwarded-for of haproxy is believed, a client's own is not"


def one_that_stops_is_taken_out(servers, client, found):
    """It finishes what it has begun, and no client notices."""
    answers = {}
    while "two" not in answers:
        answer = client.begin("POST", "/api/v1/prompt", GATED_REQUESTS["/api/v1/prompt"], Accept="text/event-stream")
        name = next(name for name in servers.urls if has_run(servers, name))
        answers[name] = answer
        if name != "two":
            pieces(servers, answer)
    servers.processes["two"].send_signal(signal.SIGTERM)
    for number in range(20):
        client.prompt(f"meanwhile {number}")
    wait_until(lambda: found("two").startswith("DOWN"), "haproxy has taken it out")
    holds(found("one").startswith("UP"), "the other one is still there")
    holds("done" in pieces(servers, answers["two"]), "the stream has its end")
    same(servers.processes["two"].wait(60), 0, "status of the server that was told to stop")
    servers.processes["two"].stdout.close()
    servers.start("two")
    wait_until(lambda: found("two").startswith("UP"), "haproxy has taken it back")
    return "a server that stops ends its stream, 20 requests meanwhile went well, and it is taken back"


def has_run(servers, name):
    """Whether a server has a run under way."""
    place = servers.urls[name].removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(place, timeout=60)) as direct:
        direct.request("GET", "/health")
        return json.loads(direct.getresponse().read())["slots"]["used"] > 0


def one_that_is_killed_loses_nothing(servers, client, found):
    """What was answered is in the store, in its order; a request that was not answered may be sent again."""
    acknowledged, failed, is_over = {}, Counter(), threading.Event()

    def talk(number):
        session = client.prompt(f"{number}: 0")["session_id"]
        acknowledged[session] = [f"{number}: 0"]
        turn = 0
        while not is_over.is_set():
            turn += 1
            prompt = f"{number}: {turn}"
            try:
                status, told = client.ask("POST", "/api/v1/prompt", {"prompt": prompt, "session_id": session})
            except (OSError, http.client.HTTPException) as error:
                status, told = type(error).__name__, ""
            if status == 200:
                acknowledged[session].append(prompt)
            else:
                failed[status] += 1

    talkers = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for talker in talkers:
        talker.start()
    total = lambda: sum(map(len, acknowledged.values()))
    wait_until(lambda: len(acknowledged) == 4 and total() > 40, "turns on both servers")
    servers.processes["two"].kill()
    before = total()
    wait_until(lambda: found("two").startswith("DOWN"), "haproxy has taken it out")
    wait_until(lambda: total() > before + 40, "turns on the one that is left")
    is_over.set()
    for talker in talkers:
        talker.join()
    for session, prompts in acknowledged.items():
        kept = client.turns(session)
        same([prompt for prompt in kept if prompt in prompts], prompts, "turns that were acknowledged")
    servers.processes["two"].wait()
    servers.processes["two"].stdout.close()
    servers.start("two")
    wait_until(lambda: found("two").startswith("UP"), "haproxy has taken it back")
    env = {"HOME": str(servers.root), "PATH": "/usr/bin:/bin", "CLINVK_HOME": str(servers.home)}
    subprocess.run([servers.clinvk, "sessions", "fsck"], env=env, check=True, capture_output=True)
    again = subprocess.run([servers.clinvk, "sessions", "fsck", "--json"], env=env, check=True, capture_output=True)
    same(json.loads(again.stdout)["findings"], [], "what fsck finds after itself")
    return f"a server was killed: {total()} acknowledged turns are there; others failed: {dict(failed)}"


# -- what a turn costs

TRACED = "openat,open,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,flock,statx,newfstatat,ftruncate"
BYTES = {"write": "written", "pwrite64": "written", "writev": "written", "read": "read", "pread64": "read"}
SAME = {
    "openat": "open",
    "fdatasync": "fsync",
    "renameat": "rename",
    "renameat2": "rename",
    "unlinkat": "unlink",
    "newfstatat": "stat",
    "statx": "stat",
    "getdents64": "getdents",
}
COLUMNS = ["open", "stat", "flock", "fsync", "rename", "unlink", "ftruncate", "getdents"]
COLUMNS += ["bytes read", "bytes written", "in store.lock"]
TURNS = 100


def counted(root, home):
    """What was asked of the files of the store, by call; and how much of it while all others wait for the store's lock."""
    count = Counter()
    for trace in root.glob("trace.*"):
        is_alone = False
        for line in trace.read_text(errors="replace").splitlines():
            call = re.match(r"(\w+)\(", line)
            if not call or f"{home}/sessions" not in line:
                continue
            if "/store.lock>" in line and call[1] == "flock" and line.endswith("= 0"):
                is_alone = "LOCK_UN" not in line
            name = SAME.get(call[1], call[1])
            count["in store.lock"] += is_alone
            if name in BYTES:
                moved = re.search(r"= (\d+)$", line)
                count[f"bytes {BYTES[name]}"] += int(moved[1]) if moved else 0
            else:
                count[name] += 1
    return count


def cost(clinvk, ask):
    """The operations of a turn: those of many, without those of a server that has had none."""
    seen = []
    for turns in (1, TURNS + 1):
        with tempfile.TemporaryDirectory(prefix="clinvk-cost-") as root:
            root = Path(root)
            home = root / "home"
            home.mkdir()
            (home / "config.json").write_text(json.dumps({"default_backend": "echo"}))
            env = {"HOME": str(root), "PATH": "/usr/bin:/bin", "TMPDIR": str(root), "CLINVK_HOME": str(home)}
            calls = f"{TRACED},getdents64,{','.join(BYTES)}"
            words = ["strace", "-ff", "-qq", "-y", "-s", "0", "-e", f"trace={calls}", "-e", "signal=none"]
            words += ["-o", str(root / "trace"), os.path.abspath(clinvk), "serve", "--port", "0"]
            with (root / "log").open("w+") as log:
                process = subprocess.Popen(
                    words, env=env, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
                )
                place = listens(process, log).removeprefix("http://").split(":")
                client, session = Client((place[0], int(place[1]))), None
                for number in range(turns):
                    session = ask(client, number, session)
                # What strace starts ends with a signal to it, and strace with that.
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(children[0]), signal.SIGTERM)
                same(process.wait(60), 0, "status of the server")
                process.stdout.close()
            seen.append(counted(root, home))
    first, all_of_them = seen
    return {column: (all_of_them[column] - first[column]) / TURNS for column in COLUMNS}


def begin(client, number, _session):
    return client.prompt(f"a prompt of some thirty letters {number}")["session_id"]


def go_on(client, number, session):
    return client.prompt(f"a prompt of some thirty letters {number}", session)["session_id"]


def main():
    (clinvk,) = sys.argv[1:]
    for name, program in (("haproxy", HAPROXY), ("strace", shutil.which("strace"))):
        if not program:
            sys.exit(f"check_several.py: {name} is not installed: apt-get install {name}")
    with tempfile.TemporaryDirectory(prefix="clinvk-several-") as root:
        servers = Servers(clinvk, Path(root))
        try:
            with servers.behind_haproxy() as (place, found):
                for check in (
                    sessions_move,
                    streams_pass,
                    addresses_are_believed,
                    one_that_stops_is_taken_out,
                    one_that_is_killed_loses_nothing,
                ):
                    print(f"ok     {check(servers, Client(place), found)}", flush=True)
        finally:
            servers.end()
    print(f"\nOf the store, for each turn ({TURNS} turns on echo, a server, strace):\n")
    print(f"{'':22}" + "".join(f"{column:>15}" for column in COLUMNS))
    for name, ask in (("a session's first", begin), ("a session that goes on", go_on)):
        of_turn = cost(clinvk, ask)
        print(f"{name:22}" + "".join(f"{of_turn[column]:15.2f}" for column in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
