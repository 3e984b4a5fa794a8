"""A real `sshd` on loopback: a host of one's own, with keys, a configuration and an environment of its own."""

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess

from scene import holds, wait_until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Sshd:
    """A login to it, as this user, is a shell with these variables and no others. `ssh`: the words that lead to it."""

    def __init__(self, keys, env):
        keys.mkdir(parents=True)
        self.keys, self.port, self.process = keys, free_port(), None
        self.ssh = ["ssh", "-F", str(keys / "ssh_config"), "there"]
        words = " ".join(shlex.quote(f"{key}={text}") for key, text in env.items())
        login = keys / "login"
        login.write_text(f'#!/bin/sh\nexec env -i {words} sh -c "$SSH_ORIGINAL_COMMAND"\n')
        login.chmod(0o755)
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / key], check=True)
        (keys / "sshd_config").write_text(f"""\
ListenAddress 127.0.0.1
Port {self.port}
HostKey {keys}/host
AuthorizedKeysFile {keys}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
MaxStartups 100
ForceCommand {login}
""")
        (keys / "ssh_config").write_text(f"""\
Host there
HostName 127.0.0.1
Port {self.port}
User {getpass.getuser()}
IdentityFile {keys}/user
IdentitiesOnly yes
UserKnownHostsFile {keys}/known
StrictHostKeyChecking no
BatchMode yes
LogLevel ERROR
""")

    def start(self):
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        command, env = [SSHD, "-D", "-e", "-f", self.keys / "sshd_config"], {"PATH": "/usr/bin:/bin"}
        log = self.keys / "log"
        with log.open("w") as said:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stderr=said)

        def answers():
            holds(self.process.poll() is None, f"sshd has ended: {log.read_text()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        wait_until(answers, "sshd answers")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(60)
