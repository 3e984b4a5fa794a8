#!/usr/bin/env python3
"""One server under a mixed load on all surfaces, with clients that leave and backends that hang, crash, flood and fork; and what is left.

    soak.py PATH-OF-CLINVK MINUTES [SEED]

Afterwards there is no process, thread, descriptor or temporary file more than before, memory has not grown by more than MOST_GROWTH,
and every turn that was acknowledged is on the disk. The same seed makes the same clients, not the same order among them.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scene import MARKER, command, holds, processes, same, wait_until
from server import listens
from soak_commands import ACTIONS, Client

CLIENTS = 20
# Seconds between two samples.
INTERVAL = 5
# A part of the time, and seconds at most, after which the server has all that it keeps: threads' stacks, arenas, programs.
WARM_UP = (0.2, 60)
# Seconds after which nothing goes on any more: what is remembered, and programs that are kept, are gone.
REST = 120
# KiB of memory that a server at rest may have more than before the load: what the allocator has not given back, and a minute's slope.
MOST_GROWTH = 4096
MOST_A_MINUTE = 512

# Each reads its prompt from standard input.
PROGRAMS = {
    "slow": 'cat >/dev/null; for word in one two three four five six; do printf "%s " $word; sleep 0.1; done',
    "hang": "cat >/dev/null; sleep 100000",
    "crash": "cat >/dev/null; printf 'half an '; kill -SEGV $$",
    "flood": """cat >/dev/null; line=$(printf '%01000d' 0)
i=0; while [ $i -lt 1000 ]; do echo $line; echo $line$line >&2; i=$((i + 1)); done""",
    # One in its group, one in a session of its own, and one that has left its parent and its environment.
    "fork": """cat >/dev/null; sleep 100000 & setsid sleep 100000 &
env -i setsid sh -c 'sleep 100000 & exit' </dev/null >/dev/null 2>&1; echo forked""",
    "kept": r"""while IFS= read -r line; do
case $line in
*slowly*) sleep 0.3 ;;
*die-first*) kill -9 $$ ;;
*die-midway*) echo '{"text": "half an "}'; kill -9 $$ ;;
*leave-behind*) setsid sleep 100000 </dev/null >/dev/null 2>&1 & ;;
esac
printf '{"text": %s, "done": true}\n' "$line"
case $line in *die-after*) kill -9 $$ ;; esac
done""",
}

KEPT = {"max": 3, "min_idle": 1, "idle_secs": 5, "max_turns": 50}


def configuration(root):
    backends = {name: {"command": ["sh", str(root / f"{name}.sh")]} for name in PROGRAMS}
    backends["kept"] |= {"keep": True, "output": "jsonl", "fields": {"text": "text", "done": "done"}}
    agent = Path(__file__).with_name("page_agent.py")
    backends["agent"] = {"protocol": "acp", "command": [sys.executable, str(agent)]}
    return {
        "default_backend": "echo",
        "backends": backends,
        # While it is asked to be slow this agent hears nothing of other conversations.
        "pool": {"kept": KEPT, "agent": KEPT | {"min_idle": 0, "per_process": 1}},
        "server": {
            "metrics_enabled": True,
            # An agent is trusted with what is in the directory.
            "project_config": True,
            "queue_length": 64,
            "stall_timeout_secs": 30,
            # What is remembered is forgotten before the server is looked at.
            "run_retention_secs": 10,
            "reuse_secs": 10,
            "reuse_max": 20,
        },
    }


@dataclass
class Sample:
    at: float
    requests: int
    memory: int  # KiB
    threads: int
    descriptors: int
    children: int

    def more_than(self, before):
        """What there is more of."""
        counts = ("threads", "descriptors", "children")
        return {name: getattr(self, name) for name in counts if getattr(self, name) > getattr(before, name)}


class Soak:
    def __init__(self, clinvk, seed, root):
        self.clinvk, self.seed, self.root = os.path.abspath(clinvk), seed, root
        self.home, self.tmp, self.work = (root / name for name in ("home", "tmp", "work"))
        for folder in (self.home, self.tmp, self.work):
            folder.mkdir()
        for name, program in PROGRAMS.items():
            (root / f"{name}.sh").write_text(program + "\n")
        (self.home / "config.json").write_text(json.dumps(configuration(root)))
        self.marker = f"{MARKER}={uuid.uuid4().hex}"
        # A command line has a home of its own and is a client of the server.
        common = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(root), "TMPDIR": str(self.tmp), MARKER: self.marker.split("=")[1]}
        self.environment = common | {"CLINVK_HOME": str(root / "client")}
        (root / "client").mkdir()
        self.lock, self.counts, self.problems, self.turns = threading.Lock(), Counter(), [], {}
        self.phase, self.until, self.samples = "", 0, []
        words, env = [self.clinvk, "serve", "--port", "0", "--log-format", "json"], common | {"CLINVK_HOME": str(self.home)}
        with (root / "log").open("w+") as log:
            self.process = subprocess.Popen(words, env=env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
            self.url = listens(self.process, log)
        host, _, port = self.url.removeprefix("http://").partition(":")
        self.place = (host, int(port))

    # -- what clients tell

    def goes_on(self):
        return time.monotonic() < self.until and not self.problems

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def problem(self, what):
        with self.lock:
            self.problems.append(what)
        print(what, flush=True)

    def acknowledge(self, session, prompt, answer):
        """A turn whose answer a client has in full."""
        with self.lock:
            self.counts["turns acknowledged"] += 1
            self.turns.setdefault(session, []).append((prompt, answer))

    def forget(self, session):
        """A client is about to delete it."""
        with self.lock:
            del self.turns[session]

    # -- the load

    def load(self, phase, seconds):
        self.phase, self.until = phase, time.monotonic() + seconds
        clients = [Client(self, number, ACTIONS) for number in range(CLIENTS)]
        works = [client.run for client in clients] + [self.kill, self.reload]
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        while self.goes_on():
            time.sleep(min(INTERVAL, max(0, self.until - time.monotonic())))
            self.samples.append(self.sample())
        for thread in threads:
            thread.join()

    def kill(self):
        """Programs that are kept die at any moment."""
        chance = random.Random(f"{self.seed}/kill")
        while self.goes_on():
            time.sleep(chance.uniform(0, 2))
            # One that is being started has no pid yet.
            children = [child for child in self.asked("/api/v1/pool")["children"] if child["pid"]]
            for child in chance.sample(children, min(1, len(children))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child["pid"], signal.SIGKILL)
                    self.count("kept programs killed")

    def reload(self):
        """The configuration is read again, at any moment."""
        chance = random.Random(f"{self.seed}/reload")
        while self.goes_on():
            time.sleep(1)
            if chance.random() < 0.1:
                self.process.send_signal(signal.SIGHUP)
                self.count("reloads")

    def asked(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    # -- the server from outside

    def sample(self):
        pid = self.process.pid
        holds(self.process.poll() is None, f"the server has ended with {self.process.returncode}: {self.log()[-2000:]}")
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return Sample(
            time.monotonic(),
            self.counts["requests"],
            int(status["VmRSS"].split()[0]),
            int(status["Threads"]),
            len(os.listdir(f"/proc/{pid}/fd")),
            len(self.children()),
        )

    def children(self):
        """Those of the server, ones that have ended and were not waited for included, and whatever else is of this world."""
        found = self.ours()
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            # A thread may have ended.
            with contextlib.suppress(OSError):
                found.update(map(int, task.read_text().split()))
        return found - {self.process.pid}

    def ours(self):
        """The processes of this world: by their environment, and, where one has thrown that away, by their directory."""
        found = set(processes(self.marker, "environ"))
        for process in Path("/proc").glob("[0-9]*"):
            # It may have ended.
            with contextlib.suppress(OSError):
                if os.readlink(process / "cwd") == str(self.work):
                    found.add(int(process.name))
        return found

    def at_rest(self, before=None):
        """What there is when nothing goes on: as much as before, given the time."""
        deadline = time.monotonic() + REST
        while (busy := self.goes_on_there()) or (before and self.sample().more_than(before)):
            if time.monotonic() > deadline:
                holds(not busy, f"after {REST} seconds the server still has {busy}")
                break
            time.sleep(0.5)
        # The connection that was asked over has its end, too.
        time.sleep(1)
        return self.sample()

    def goes_on_there(self):
        """What a server at rest has not."""
        health, pool = self.asked("/health"), self.asked("/api/v1/pool")["children"]
        found = {"runs": health["slots"]["used"], "connections": health["connections"] - 1, "results": len(self.asked("/api/v1/runs")["runs"])}
        # One program waits for a run at any time.
        found["kept"] = [(child["backend"], child["state"], child["idle_seconds"]) for child in pool][KEPT["min_idle"] :]
        return {what: number for what, number in found.items() if number}

    def log(self):
        return (self.root / "log").read_text(errors="replace")

    # -- what is judged

    def checked(self, judge, *given):
        try:
            judge(*given)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            self.problem(str(error))

    def is_as_before(self, before, after):
        pid = self.process.pid
        names = lambda what: sorted(each.read_text().strip() for each in Path(f"/proc/{pid}/task").glob(f"*/{what}"))
        open_files = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
        found = f"threads {names('comm')}, descriptors {sorted(open_files)}, children {[command(each) for each in self.children()]}"
        same(after.more_than(before), {}, f"what a server at rest has more than before ({before}): {found}")

    def memory_is_flat(self, before, after, under_load):
        grown, minutes = after.memory - before.memory, (after.at - before.at) / 60
        thousands = (after.requests - before.requests) / 1000
        slope = of_line([(sample.at / 60, sample.memory) for sample in under_load])
        print(
            f"       at rest {before.memory} KiB before and {after.memory} KiB after: {grown / thousands:+.0f} KiB per 1000 requests, "
            f"{grown / minutes:+.0f} KiB a minute; under load {slope:+.0f} KiB a minute, at most {max(each.memory for each in under_load)} KiB"
        )
        most = MOST_GROWTH + MOST_A_MINUTE * minutes
        holds(grown <= most, f"memory has grown by {grown} KiB in {minutes:.1f} minutes, more than {most:.0f}")

    def turns_are_there(self):
        lost = []
        for session, turns in self.turns.items():
            file = self.home / "sessions" / f"{session}.turns.jsonl"
            kept = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
            kept = Counter((turn["prompt"], turn["answer"]) for turn in kept)
            lost += [f"{session}: {turn}" for turn in set(turns) if not kept[turn]]
        self.counts["turns lost"] = len(lost)
        same(lost[:10], [], f"{len(lost)} of {self.counts['turns acknowledged']} acknowledged turns are lost")

    def nothing_is_left(self):
        self.process.terminate()
        same(self.process.wait(60), 0, "status of the server")
        wait_until(lambda: not self.ours(), "the end of all processes", 10)

    def no_file_is_left(self):
        same([str(each) for each in self.tmp.rglob("*")], [], "files left in TMPDIR")
        passing = [each.name for each in self.home.rglob("*") if each.suffix in (".tmp", ".next")]
        same(passing, [], "passing files in the home")

    def store_is_whole(self):
        words, env = [self.clinvk, "sessions", "fsck", "--json"], self.environment | {"CLINVK_HOME": str(self.home)}
        done = subprocess.run(words, env=env, cwd=self.work, capture_output=True, text=True, timeout=600)
        same((done.returncode, done.stderr), (0, ""), "status and errors of fsck")
        same(json.loads(done.stdout)["findings"], [], "what fsck finds")
        for session, turns in list(self.turns.items())[:20]:
            words = [self.clinvk, "sessions", "show", session, "--turns", "--json"]
            done = subprocess.run(words, env=env, cwd=self.work, capture_output=True, text=True, timeout=60)
            told = {turn["prompt"] for turn in json.loads(done.stdout)["turns"]}
            holds({prompt for prompt, _ in turns} <= told, f"sessions show {session} lacks turns: {told}")

    def log_is_quiet(self):
        lines = [json.loads(line) for line in self.log().splitlines()]
        same([line for line in lines if line["level"] == "error"][:10], [], "errors in the server's log")
        warned = Counter(line["message"] for line in lines if line["level"] == "warn")
        print(f"       warnings: {dict(warned.most_common(5))}")

    def run(self, seconds):
        """The load, and what came of it."""
        warm_up = min(seconds * WARM_UP[0], WARM_UP[1])
        self.load("warm", warm_up)
        if self.problems:
            return
        before = self.at_rest()
        self.samples.clear()
        began = time.monotonic()
        self.load("load", seconds - warm_up)
        requests, seconds = self.counts["requests"] - before.requests, time.monotonic() - began
        print(f"       {requests} requests, {requests / seconds:.0f} a second", flush=True)
        after = self.at_rest(before)
        # Not in vain.
        missing = [each.__name__ for each in ACTIONS if not self.counts[each.__name__]]
        self.checked(same, missing, [], "what no client has done")
        self.checked(self.is_as_before, before, after)
        self.checked(self.memory_is_flat, before, after, self.samples)
        self.checked(self.nothing_is_left)
        for judge in (self.turns_are_there, self.no_file_is_left, self.store_is_whole, self.log_is_quiet):
            self.checked(judge)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        for pid in self.ours():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def of_line(points):
    """The slope of the straight line that is nearest to all of these."""
    middle = [sum(each) / len(points) for each in zip(*points, strict=True)]
    above = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    return above / (sum((x - middle[0]) ** 2 for x, _ in points) or 1)


def main():
    clinvk, minutes, *seed = sys.argv[1:]
    seed = seed[0] if seed else uuid.uuid4().hex[:8]
    print(f"       SEED={seed}: {minutes} minutes of {CLIENTS} clients, {len(ACTIONS)} things to do", flush=True)
    root = Path(tempfile.mkdtemp(prefix="clinvk-soak-", dir="/var/tmp")).resolve()
    soak = Soak(clinvk, seed, root)
    try:
        soak.checked(soak.run, float(minutes) * 60)
    finally:
        soak.end()
    for what, number in sorted(soak.counts.items(), key=lambda each: -each[1]):
        print(f"{number:10} {what}")
    if soak.problems:
        print(f"FAILED {len(soak.problems)} problems with SEED={seed}; what there was is in {root}")
        return 1
    shutil.rmtree(root)
    print("ok     nothing is left, nothing is lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
