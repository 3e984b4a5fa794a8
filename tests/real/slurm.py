"""A real Slurm on loopback: `munged`, `slurmctld` and a `slurmd` for each node, of one's own, with a directory of their own."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from scene import command, holds, kill, parent, processes, wait_until
from sshd import free_port

PATH = "/usr/bin:/usr/sbin:/bin:/sbin"


class Slurm:
    """As many jobs as that run at once on each of its nodes, whatever the machine has. `env`: that of its daemons and of its users."""

    def __init__(self, folder, env, nodes=("one",), cpus=8):
        folder.mkdir(parents=True)
        for name in ("state", *(f"spool-{node}" for node in nodes)):
            (folder / name).mkdir()
        self.folder, self.nodes, self.daemons = folder, nodes, {}
        self.env = env | {"SLURM_CONF": str(folder / "slurm.conf")}
        (folder / "key").write_bytes(os.urandom(64))
        (folder / "key").chmod(0o600)
        name, user = socket.gethostname().partition(".")[0], getpass.getuser()
        # All of them are this machine, each at a port of its own.
        of_node = f"NodeHostname={name} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN"
        lines = "\n".join(f"NodeName={node} Port={free_port()} {of_node}" for node in nodes)
        (folder / "slurm.conf").write_text(f"""\
ClusterName=check
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={free_port()}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is requeued waits for as long as the credential of its last run may be used.
AuthInfo=socket={folder}/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
# A node that says nothing for so long is down, where there is another one.
SlurmdTimeout={10 if len(nodes) > 1 else 300}
SlurmdParameters=config_overrides
# How often it looks for what may start that was put off.
SchedulerParameters=sched_interval=2
{lines}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")

    def start(self):
        files = [f"--{what}-file={self.folder / what}" for what in ("key", "pid", "log", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={self.folder}/socket", *files)
        self._until("munged", (self.folder / "socket").exists)
        self._daemon("slurmctld", "-D", "-c")
        self._until("slurmctld", lambda: "UP" in self.ask("scontrol", "ping"))
        for node in self.nodes:
            self._daemon("slurmd", "-D", "-N", node, name=node)
        for node in self.nodes:
            self._until(node, lambda: self.ask("sinfo", "-h", "-n", node, "-o", "%T") == "idle")

    def lose(self, node):
        """It is switched off: nothing that runs there goes on."""
        self.daemons[node].kill()
        self.daemons[node].wait()
        del self.daemons[node]
        # All stand still before the first one ends: none is to see that.
        still = set()
        while moving := self._steps(node) - still:
            kill(moving, signal.SIGSTOP)
            still |= moving
        kill(still)

    def _steps(self, node):
        """What runs there: programs and, above each, what looks after its step."""
        ours = processes(f"SLURM_CONF={self.folder}/", "environ")
        programs = set(ours).intersection(processes(f"SLURMD_NODENAME={node}", "environ"))
        return programs.union(pid for pid in map(parent, programs) if command(pid).startswith("slurmstepd"))

    def _daemon(self, program, *options, name=None):
        name = name or program
        program = shutil.which(program, path=PATH)
        with (self.folder / f"{name}.said").open("w") as said:
            self.daemons[name] = subprocess.Popen(
                [program, *options], env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def _until(self, name, answers):
        def condition():
            holds(self.daemons[name].poll() is None, f"{name} has ended: {self.said(name)}")
            return answers()

        try:
            wait_until(condition, f"{name} answers")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.said(name)}") from None

    def said(self, name):
        return (self.folder / f"{name}.said").read_text()

    def ask(self, *command):
        ran = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=60)
        return (ran.stdout + ran.stderr).strip()

    def stop(self):
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            daemon.wait(60)
        # One of a step that still runs goes on without them, under a name and an environment of its own.
        for cwd in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if Path(os.readlink(cwd)) == self.folder:
                    os.kill(int(cwd.parent.name), signal.SIGKILL)
