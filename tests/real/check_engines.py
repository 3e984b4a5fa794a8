#!/usr/bin/env python3
"""Lists that real engines distribute: GNU parallel over two hosts, of which one is lost, and a Slurm of one node or of two, likewise.

    check_engines.py CLINVK [words with which names begin]

What is run is what the manual shows, word by word.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from pathlib import Path

from scene import command, holds, kill, parent, processes, same, wait_until
from slurm import PATH, Slurm
from sshd import Sshd

MANUAL = Path(__file__).parents[2] / "man/clinvk.1"
CONFIG_MANUAL = MANUAL.with_name("clinvk-config.5")
PATIENCE = 120
ITEMS = [f"item {number}" for number in range(1, 61)]
# After so many, a worker that is held back goes on with none.
BEFORE_HOLD = 3

# The program of the backend: it notes who runs what, and answers.
SLOW = f"""\
#!/bin/sh
who=${{ENGINE_WHO:-task${{SLURM_ARRAY_TASK_ID:-}}}}
prompt=$(cat)
echo "$who $prompt" >>ran
while [ -e "hold-$who" ] && [ "$(grep -c "^$who " ran)" -gt {BEFORE_HOLD} ]; do sleep 0.1; done
sleep 0.05
echo "done: $prompt"
"""


class World:
    """A directory that all hosts share, with the list in it, and a backend that notes each of its runs there."""

    def __init__(self, clinvk):
        self.root = Path(tempfile.mkdtemp(prefix="clinvk-engines-", dir="/var/tmp")).resolve()
        self.work, self.bin = self.root / "work", self.root / "bin"
        for folder in (self.work, self.bin):
            folder.mkdir()
        (self.bin / "clinvk").symlink_to(Path(clinvk).resolve())
        (self.bin / "slow").write_text(SLOW)
        (self.bin / "slow").chmod(0o755)
        (self.work / "list").write_text("".join(f"{item}\n" for item in ITEMS))
        (self.work / "ran").touch()

    def environment(self, name):
        """Of a host or a user: a home of its own, whose processes are known by a variable of theirs."""
        home = self.root / name
        (home / ".clinvk").mkdir(parents=True)
        config = {"default_backend": "slow", "backends": {"slow": {"command": [str(self.bin / "slow")]}}}
        (home / ".clinvk/config.json").write_text(json.dumps(config))
        path = f"{self.bin}:/usr/bin:/bin"
        return {"HOME": str(home), "SHELL": "/bin/sh", "TMPDIR": str(home), "PATH": path, "ENGINE_MARKER": uuid.uuid4().hex}

    def runs(self, who=""):
        """The items that were begun, by one of the workers or by all."""
        lines = (self.work / "ran").read_text().splitlines()
        return [line.split(" Review ")[1] for line in lines if not who or line.startswith(f"{who} ")]

    def done(self):
        """The items whose answer is on disk."""
        results = [json.loads(path.read_text()) for path in self.work.glob("out/*/[0-9]*.json")]
        return [result["item"] for result in results if result["status"] == "completed"]

    def hold(self, who):
        (self.work / f"hold-{who}").touch()

    def let_go(self, who):
        (self.work / f"hold-{who}").unlink()

    def is_held(self, who):
        return len(self.runs(who)) > BEFORE_HOLD

    def lost(self, who=""):
        """The items that were begun and have no answer: some at least."""
        lost = set(self.runs(who)) - set(self.done())
        holds(lost, "nothing was under way")
        return lost

    def expect_all(self, env, lost):
        """The whole list is answered in its order; what had no answer when its host went was run twice, all else once."""
        folders = sorted(str(path.relative_to(self.work)) for path in self.work.glob("out/*"))
        merge = ["clinvk", "map", "-q", "--merge", *folders]
        ran = subprocess.run(merge, env=env, cwd=self.work, capture_output=True, text=True, timeout=PATIENCE)
        same((ran.returncode, ran.stderr), (0, ""), "(status, stderr) of the merge")
        results = [json.loads(line) for line in ran.stdout.splitlines()]
        same([result["item"] for result in results], ITEMS, "the items")
        same([result["output"] for result in results], [f"done: Review {item}" for item in ITEMS], "the answers")
        runs = self.runs()
        expected = {item: 1 + (item in lost) for item in ITEMS}
        same({item: runs.count(item) for item in ITEMS}, expected, "how often each was run")

    def close(self):
        shutil.rmtree(self.root)


def carriers(env):
    return processes(f"ENGINE_MARKER={env['ENGINE_MARKER']}", "environ")


def kill_all(env):
    while pids := carriers(env):
        kill(pids)


def children(pid):
    """Its children, and theirs."""
    parents = {int(entry.name): parent(entry.name) for entry in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for one in found:
        found += [child for child, its in parents.items() if its == one]
    return found[1:]


def shown(first):
    """What the manual shows as an example that begins with these words."""
    for example in re.findall(r"^\.Bd -literal -offset indent\n(.*?)^\.Ed\n", MANUAL.read_text(), re.M | re.S):
        if example.startswith(first):
            return example.replace("\\e\n", "\\\n").replace("\\(dq", '"')
    raise AssertionError(f"the manual has no example that begins with `{first}`")


# ------------------------------------------------------------------------------ GNU parallel


class Host:
    """A machine to which ssh leads."""

    def __init__(self, world, name):
        self.env = world.environment(name)
        self.sshd = Sshd(world.root / f"{name}-keys", self.env | {"ENGINE_WHO": name})
        self.sshd.start()

    def cut(self):
        """It cannot be reached any more, and its connections are gone; what runs there goes on."""
        sessions = [pid for pid in children(self.sshd.process.pid) if pid not in carriers(self.env)]
        kill([self.sshd.process.pid, *sessions])
        self.sshd.process.wait()

    def lose(self):
        """It is switched off."""
        self.cut()
        kill_all(self.env)

    def close(self):
        if self.sshd.process.poll() is None:
            self.lose()
        kill_all(self.env)


@contextlib.contextmanager
def hosts(world):
    env, both = world.environment("user"), []
    try:
        both += [Host(world, "a"), Host(world, "b")]
        (world.work / "hosts").write_text("".join(f"1/{' '.join(host.sshd.ssh)}\n" for host in both))
        yield env, *both
    finally:
        for host in both:
            host.close()
        kill_all(env)


def distribute(world, env, *more):
    """Starts the manual's command, with more options; gives it and what it says."""
    line = shown("parallel ").replace("parallel ", " ".join(["exec parallel", *more, ""]), 1)
    log = world.root / "parallel.log"
    with log.open("w") as said:
        return subprocess.Popen(["sh", "-c", line], env=env, cwd=world.work, stdin=subprocess.DEVNULL, stderr=said), log


def wait_for_the_middle(world, engine, log):
    def is_reached():
        holds(engine.poll() is None, f"parallel has ended: {log.read_text()}")
        return world.is_held("b")

    wait_until(is_reached, "the second host is in the middle")


def finish(engine, log):
    same((engine.wait(PATIENCE), log.read_text()), (0, ""), "parallel: (status, stderr)")


def parallel_goes_on_without_a_host_that_is_lost(world):
    with hosts(world) as (env, _, b):
        world.hold("b")
        started = distribute(world, env)
        wait_for_the_middle(world, *started)
        b.lose()
        lost = world.lost("b")
        finish(*started)
        world.expect_all(env, lost)


def parallel_goes_on_without_a_host_that_is_cut_off(world):
    """What that host was at ends there: until then the folder of its results is in use."""
    with hosts(world) as (env, _, b):
        world.hold("b")
        engine, log = distribute(world, env)
        wait_for_the_middle(world, engine, log)
        b.cut()
        wait_until(lambda: not carriers(b.env), "all ends on the host that is cut off")
        lost = world.lost("b")
        # On a slow machine it has tried all its times by then.
        if engine.wait(PATIENCE):
            finish(*distribute(world, env, "--resume-failed"))
        world.expect_all(env, lost)


def parallel_that_was_killed_goes_on(world):
    with hosts(world) as (env, a, b):
        world.hold("b")
        engine, log = distribute(world, env)
        wait_for_the_middle(world, engine, log)
        kill_all(env)
        engine.wait()
        wait_until(lambda: not carriers(a.env) + carriers(b.env), "all ends on both hosts")
        lost = world.lost()
        world.let_go("b")
        finish(*distribute(world, env, "--resume-failed"))
        world.expect_all(env, lost)


# -------------------------------------------------------------------------------------- Slurm


@contextlib.contextmanager
def slurm(world, **size):
    """A Slurm, and the environment of its users."""
    node = world.environment("node")
    user = node | {"ENGINE_MARKER": uuid.uuid4().hex}
    cluster = Slurm(world.root / "slurm", node, **size)
    try:
        cluster.start()
        yield cluster, user | {"SLURM_CONF": cluster.env["SLURM_CONF"]}
    finally:
        cluster.stop()
        kill_all(user)
        kill_all(node)


def begin_array(world, env):
    """The manual's array, once its second task is in the middle; the name of its job."""
    world.hold("task2")
    (world.work / "job").write_text(shown("#!/bin/sh\n#SBATCH"))
    ran = subprocess.run(["sbatch", "--parsable", "job"], env=env, cwd=world.work, capture_output=True, text=True)
    same((ran.returncode, ran.stderr), (0, ""), "sbatch: (status, stderr)")
    wait_until(lambda: world.is_held("task2"), "a task is in the middle")
    return ran.stdout.strip()


def ends(cluster, job):
    """How its tasks ended, and how often each was begun again."""
    said = cluster.ask("scontrol", "show", "job", "-o", job).splitlines()
    return sorted((re.search("JobState=([A-Z_]+)", line)[1], int(re.search(r"Restarts=(\d+)", line)[1])) for line in said)


def slurm_array_whose_task_is_requeued_goes_on(world):
    with slurm(world) as (cluster, env):
        job = begin_array(world, env)
        task = f"{job}_2"
        same(cluster.ask("scontrol", "requeue", task), "", "scontrol says")
        wait_until(lambda: cluster.ask("squeue", "-h", "-o", "%T", "-j", task) == "PENDING", "it is requeued")
        lost = world.lost("task2")
        world.let_go("task2")
        wait_until(lambda: not cluster.ask("squeue", "-h"), "all tasks end", PATIENCE)
        same(ends(cluster, job), [("COMPLETED", 0)] * 5 + [("COMPLETED", 1)], "how the tasks ended")
        same("".join(path.read_text() for path in world.work.glob("slurm-*.out")), "", "what they said")
        world.expect_all(env, lost)


def slurm_array_whose_node_is_lost_goes_on(world):
    """On the other node, which has room for all of its tasks."""
    with slurm(world, nodes=("left", "right"), cpus=3) as (cluster, env):
        job = begin_array(world, env)
        node = cluster.ask("squeue", "-h", "-o", "%N", "-j", f"{job}_2")
        tasks = cluster.ask("squeue", "-h", "-r", "-o", "task%K", "-w", node).split()
        cluster.lose(node)
        lost = set().union(*(world.runs(task) for task in tasks)) - set(world.done())
        holds(lost, "nothing was under way")
        world.let_go("task2")
        wait_until(lambda: not cluster.ask("squeue", "-h"), "all tasks end", PATIENCE)
        how = ends(cluster, job)
        same({state for state, _ in how}, {"COMPLETED"}, "how the tasks ended")
        holds(0 < sum(times for _, times in how) <= len(tasks), f"tasks of `{node}`: {tasks}; how all ended: {how}")
        world.expect_all(env, lost)


def map_on_slurm():
    """The words of a `map` whose programs are steps of an allocation, two at once."""
    launcher = json.loads(re.search(r'"launcher": (\["srun".*\])', CONFIG_MANUAL.read_text())[1])
    return ["salloc", "-Q", "-n2", "clinvk", "map", "-q", "--via", " ".join(launcher), "-P", "2", "Review {}", "-f", "list"]


def slurm_starts_the_programs_of_a_map(world):
    with slurm(world) as (_, env):
        ran = subprocess.run(map_on_slurm(), env=env, cwd=world.work, capture_output=True, text=True, timeout=PATIENCE)
        same((ran.returncode, ran.stderr), (0, ""), "(status, stderr)")
        items = [json.loads(line)["item"] for line in ran.stdout.splitlines()]
        same((sorted(items), sorted(world.runs())), (sorted(ITEMS), sorted(ITEMS)), "(items, runs)")


def slurm_steps_end_with_the_map_that_started_them(world):
    with slurm(world) as (cluster, env):
        world.hold("task")
        run = subprocess.Popen(map_on_slurm(), env=env, cwd=world.work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until(lambda: world.is_held("task"), "the list is in the middle")
        wait_until(lambda: len(cluster.ask("squeue", "-h", "-s").splitlines()) == 2, "two steps run at once")
        [clinvk] = [pid for pid in carriers(env) if command(pid).startswith("clinvk map")]
        os.kill(clinvk, signal.SIGTERM)
        same(run.wait(PATIENCE), 7, "status")
        wait_until(lambda: not carriers(env), "nothing is left")


# What is needed, and what Debian calls it.
NEEDED = {
    "parallel": "parallel", "ssh": "openssh-client", "sshd": "openssh-server",
    "sbatch": "slurm-wlm", "slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "munged": "munge",
}  # fmt: skip


def main():
    clinvk, *chosen = sys.argv[1:]
    missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program, path=PATH)})
    if missing:
        sys.exit(f"check_engines.py: not installed: apt-get install {' '.join(missing)}")
    known = {name: one for name, one in globals().items() if name.startswith(("parallel_", "slurm_"))}
    scenarios = [one for name, one in known.items() if name.startswith(tuple(chosen or [""]))]
    if not scenarios:
        sys.exit(f"check_engines.py: no name begins with {' or '.join(chosen)}")
    failed = 0
    for scenario in scenarios:
        since, problem = time.monotonic(), ""
        world = World(clinvk)
        try:
            scenario(world)
        except Exception:
            problem = traceback.format_exc()
        world.close()
        failed += bool(problem)
        name = scenario.__name__.replace("_", " ")
        print(f"{'FAIL' if problem else 'ok':6} {time.monotonic() - since:6.2f} s  {name}", flush=True)
        print(problem, end="")
    print(f"{len(scenarios) - failed} of {len(scenarios)} ok")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
