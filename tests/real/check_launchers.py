"""The real CLIs through launchers: a sandbox of this machine, and a real `sshd` on loopback, behind which there is another
home, another directory and another environment.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from backends import CLAUDE, GEMINI
from check_conversations import serving
from check_mcp import call, server, told
from check_pool import KEPT, only, programs
from registry import scenario
from scene import ANSWER, HELLO, PATIENCE, holds, processes, same, wait_until
from sshd import SSHD, Sshd
from standin import Hang, Text, shell

# The variables that are given from here: there they are not set.
KEYS = ("ANTHROPIC_API_KEY", "STUB_API_KEY", "GEMINI_API_KEY")
NO_SSHD = "" if SSHD and shutil.which("ssh") else "openssh-server and openssh-client are not installed"


def through_ssh(function):
    return scenario(of=KEPT, skips=lambda *_: NO_SSHD)(function)


def vendors_through_ssh(function):
    return scenario(skips=lambda *_: NO_SSHD)(function)


class There(Sshd):
    """Another machine: what a login by ssh finds on it."""

    def __init__(self, scene):
        self.root = scene._root / "there"
        self.work = self.root / "work"
        self.work.mkdir(parents=True)
        env = scene._clis.environment([scene.backend.name], self.root, scene.server.url)
        name, value = scene.marker.split("=")
        env[name] = value
        # Here are none of the vendors' programs, but their keys.
        known = {key: env.pop(key) for key in KEYS if key in env}
        kept = {key: scene.environment[key] for key in ("HOME", "TMPDIR", name)}
        scene.environment = {"PATH": "/usr/bin:/bin", **kept, **known}
        super().__init__(scene._root / "keys", env)
        self.launcher = {"launcher": self.ssh, "launcher_workdir": [str(self.work)], "launcher_env": list(known)}


def configure(scene, launcher):
    config = {"backends": {scene.backend.name: launcher}}
    scene.plant(scene.home / ".clinvk/config.json", json.dumps(config))


def waits_for_the_other_side(scene):
    """What is left there is looked for once a second."""
    at_once = scene.expect_nothing_left

    def patiently():
        wait_until(lambda: not scene.left(), f"nothing is left on either side but {scene.left()}", 15)
        at_once()

    scene.expect_nothing_left = patiently


@contextlib.contextmanager
def there(scene):
    """A machine to which ssh leads, and clinvk that starts the backend there."""
    machine = There(scene)
    waits_for_the_other_side(scene)
    try:
        machine.start()
        configure(scene, machine.launcher)
        yield machine
    finally:
        machine.stop()
    # The home of gemini, in /tmp, has links to what is in that of its user.
    links = [link for link in Path("/tmp").glob("clinvk-*/home/*") if link.is_symlink()]
    same([link for link in links if str(machine.root) in os.readlink(link)], [], "links left in /tmp")


def clients(scene):
    """The ssh of this scene."""
    return processes(str(scene._root / "keys/ssh_config"), "cmdline")


# ------------------------------------------------------------------------------------------- ssh


@through_ssh
def launcher_ssh_answers_and_goes_on(scene):
    with there(scene) as machine:
        first = scene.run("-o", "json", prompt="the first prompt", turns=[Text(HELLO)])
        first.ends(0, "")
        same((first.object["content"], first.object["warnings"]), (ANSWER, []), "(content, warnings)")
        body = json.dumps(scene.server.asked[-1]["body"])
        holds(str(machine.work) in body and str(scene.work) not in body, "the model hears of the directory there alone")
        scene.run("-c", prompt="the second prompt", turns=[Text(HELLO)]).gives()
        text = "\n".join(text for _, text in scene.server.conversation())
        holds("the first prompt" in text and "the second prompt" in text, f"the model was told: {text[-500:]}")


@vendors_through_ssh
def launcher_ssh_streams(scene):
    with there(scene):
        running = scene.start("-o", "stream-json", turns=[Text(HELLO, delay=1)])
        running.read_until(lambda out: b'"Hello"' in out)
        holds(running.process.poll() is None and b" stub" not in running.out, "the first piece came alone")
        running.finish().ends(0, "")


@vendors_through_ssh
def launcher_ssh_passes_files_on(scene):
    """A system prompt, and what bounds the tools: gemini has both from files."""
    with there(scene):
        words = ["--sandbox", "read-only", "--system-prompt", "Be a heron's stub."]
        scene.run(*words, turns=[Text(HELLO)]).gives()
        body = json.dumps(scene.server.asked[-1]["body"])
        holds("Be a heron's stub." in body, f"the system prompt is not in {body[:3000]}")
        if scene.backend in (CLAUDE, GEMINI):
            holds(f'"name": "{scene.backend.tools["shell"]}"' not in body, "a shell is offered")


@scenario(only=lambda backend: backend is CLAUDE, skips=lambda *_: NO_SSHD)
def launcher_ssh_passes_servers_on(scene):
    """claude has the MCP servers of a run from a file."""
    with there(scene):
        turns = call(scene, "prompt", {"prompt": "forty-two herons", "backend": "echo"})
        scene.run("--approval", "none", "--mcp", server(scene), turns=turns).gives()
        holds("forty-two herons" in told(scene)[-1], f"the model was told: {told(scene)}")


@vendors_through_ssh
def launcher_ssh_cancel_ends_both_sides(scene):
    with there(scene) as machine:
        for number, stop in enumerate((signal.SIGINT, signal.SIGTERM)):
            started = machine.work / f"started{number}"
            turns = [Text(call=shell(f"touch {started}; sleep 1000")), Hang()]
            running = scene.start("--approval", "none", turns=turns)
            running.wait_until(started.exists, "the command runs there")
            running.process.send_signal(stop)
            same(running.finish().status, {signal.SIGINT: -stop, signal.SIGTERM: 7}[stop], "status")
            same(clients(scene), [], "ssh left here")


@vendors_through_ssh
def launcher_ssh_connection_that_breaks_ends_the_other_side(scene):
    with there(scene) as machine:
        started = machine.work / "started"
        turns = [Text(call=shell(f"touch {started}; sleep 1000")), Hang()]
        running = scene.start("-o", "json", "--approval", "none", turns=turns)
        running.wait_until(started.exists, "the command runs there")
        [pid] = clients(scene)
        os.kill(pid, signal.SIGKILL)
        holds(running.finish().status != 0, "the run has failed")


@through_ssh
def launcher_ssh_keeps_a_program(scene):
    with there(scene) as machine:
        with serving(scene, backends={scene.backend.name: machine.launcher}) as served:
            scene.server.play(Text(HELLO))
            first = served.post("/api/v1/prompt", {"prompt": "the first prompt"})[1]
            same(first["content"], ANSWER, "the first answer")
            kept = only(served)
            for number in range(2):
                scene.server.play(Text(HELLO))
                body = {"prompt": f"prompt {number}", "session_id": first["session_id"]}
                same(served.post("/api/v1/prompt", body)[1]["content"], ANSWER, "the next answer")
            same(programs(served), {kept}, "the programs")
            text = "\n".join(text for _, text in scene.server.conversation())
            holds("the first prompt" in text and "prompt 1" in text, f"the model was told: {text[-500:]}")


@vendors_through_ssh
def launcher_ssh_names_what_is_missing(scene):
    with there(scene) as machine:
        configure(scene, machine.launcher | {"program": "no-such-program"})
        ran = scene.run()
        same(ran.status, 2, "status")
        holds("`no-such-program` is not on PATH where `ssh` starts it" in ran.err, f"stderr: {ran.err}")
        machine.stop()
        ran = scene.run("-o", "json")
        ran.ends(1, "unreachable")
        holds("Connection refused" in ran.err, f"stderr: {ran.err}")


# ----------------------------------------------------------------------------------------- bwrap


def no_bwrap(*_):
    works = shutil.which("bwrap") and not subprocess.run(["bwrap", "--dev-bind", "/", "/", "true"]).returncode
    return "" if works else "bwrap does not work here"


@scenario(skips=no_bwrap)
def launcher_bwrap_confines(scene):
    """All but the working directory, the home and the temporary directory can only be read."""
    writable = [word for folder in ("{workdir}", scene.home, scene.tmp) for word in ("--bind", str(folder), str(folder))]
    launcher = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", *writable, "--"]
    configure(scene, {"launcher": launcher})
    outside = scene._root / "outside"
    turns = [Text(call=shell(f"touch inside; touch {outside}")), Text(HELLO)]
    ran = scene.run("-o", "json", "--approval", "none", turns=turns, timeout=PATIENCE)
    ran.ends(0, "")
    same((ran.object["content"], (scene.work / "inside").exists(), outside.exists()), (ANSWER, True, False), "(content, inside, outside)")
    scene.run("-c", prompt="the second prompt", turns=[Text(HELLO)]).gives()
    running = scene.start("--approval", "none", turns=[Text(call=shell("touch started; sleep 1000")), Hang()])
    running.wait_until((scene.work / "started").exists, "the command runs")
    running.process.send_signal(signal.SIGINT)
    same(running.finish().status, -signal.SIGINT, "status")
