"""Completion in the real shells: each is typed to on a terminal of its own, and what it would have run is compared.

    python3 tests/real/check_completions.py CLINVK

The program that the shells find notes its arguments instead of doing anything, unless it is asked what may come next.
"""

import json
import os
import pty
import select
import shutil
import signal
import sys
import tempfile
import time

# What is typed, and the arguments that have to come out of it.  \t is the key that completes.
TYPED = [
    ("clinvk sessi\tli\t--stat\tact\t", ["sessions", "list", "--status", "active"]),
    ("clinvk -b ec\thi", ["-b", "echo", "hi"]),
    ("clinvk --backend=ec\thi", ["--backend=echo", "hi"]),
    ("clinvk -b codex -m fas\thi", ["-b", "codex", "-m", "fast", "hi"]),
    ("clinvk compare --backends echo,codex:fas\thi", ["compare", "--backends", "echo,codex:fast", "hi"]),
    ("clinvk compare --backends=codex:fas\thi", ["compare", "--backends=codex:fast", "hi"]),
    ("clinvk resume 4\tagain", ["resume", "4" * 12, "again"]),
    ("clinvk sessions tag 4\tone", ["sessions", "tag", "4" * 12, "one"]),
    ("clinvk config get default_b\t", ["config", "get", "default_backend"]),
    ("clinvk -t rev\thi", ["-t", "review", "hi"]),
    ("clinvk map --template=rev\thi", ["map", "--template=review", "hi"]),
    ("clinvk --prompt-file not\thi", ["--prompt-file", "notes.txt", "hi"]),
    ("clinvk help sessions cle\t", ["help", "sessions", "clean"]),
    ("clinvk completions z\t", ["completions", "zsh"]),
    ("clinvk -f not\thi", ["-f", "notes.txt", "hi"]),
    ("clinvk --file=not\thi", ["--file=notes.txt", "hi"]),
    ("clinvk -w fold\t hi", ["-w", "folder", "hi"]),
]
SHELLS = {
    "bash": ["bash", "--noprofile", "--rcfile", "rc.bash", "-i"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "-i"],
}


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def scene(root, clinvk):
    """A home with a session, a folder with files, the scripts in the shells' own places, and a program that notes."""
    script = os.path.join(root, "bin", "clinvk")
    write(script, f'''#!/bin/sh
if [ "$1" = completions ] && [ "$2" = -- ]; then exec "{clinvk}" "$@"; fi
for word; do printf '%s\\n' "$word"; done >"{root}/ran.tmp"
mv "{root}/ran.tmp" "{root}/ran"
''', 0o755)
    home = os.path.join(root, "home")
    session = {
        "id": "4" * 32, "backend": "echo", "working_dir": root, "title": "the parser", "initial_prompt": "hi",
        "created_at": "2026-01-31T12:00:00.000Z", "last_used_at": "2026-01-31T12:00:00.000Z", "status": "completed",
    }
    write(os.path.join(root, "session.json"), json.dumps({"clinvk_session": 1, "session": session, "turns": []}))
    env = {"HOME": home, "PATH": f"{root}/bin:/usr/bin:/bin", "TERM": "dumb", "LANG": "C.UTF-8", "PS1": "> "}
    os.makedirs(home, exist_ok=True)
    imported = os.popen(f"env -i HOME={home} {clinvk} sessions import {root}/session.json").read()
    assert imported.strip() == "4" * 32, imported
    write(os.path.join(home, ".clinvk", "prompts", "review.md"), "Review:\n")
    write(os.path.join(root, "work", "notes.txt"), "")
    os.makedirs(os.path.join(root, "work", "folder"))
    scripts = {shell: os.popen(f"{clinvk} completions {shell}").read() for shell in SHELLS}
    write(os.path.join(root, "work", "rc.bash"), scripts["bash"])
    write(os.path.join(root, "functions", "_clinvk"), scripts["zsh"])
    write(os.path.join(home, ".zshrc"), f"fpath=({root}/functions $fpath)\nautoload -U compinit && compinit -u -D\n")
    write(os.path.join(home, ".config", "fish", "completions", "clinvk.fish"), scripts["fish"])
    return env


class Terminal:
    def __init__(self, argv, env, folder):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, env)
        self.seen = b""

    def quiet(self, seconds):
        """Reads until nothing has come for so long."""
        while select.select([self.fd], [], [], seconds)[0]:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:
                return
            if not piece:
                return
            self.seen += piece

    def type(self, text):
        for piece in text.replace("\t", "\0\t\0").split("\0"):
            if piece:
                os.write(self.fd, piece.encode())
                self.quiet(1.0 if piece == "\t" else 0.1)

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def check(shell, root, env):
    ran = os.path.join(root, "ran")
    terminal = Terminal(SHELLS[shell], env, os.path.join(root, "work"))
    try:
        terminal.quiet(3.0)
        for typed, wanted in TYPED:
            if os.path.exists(ran):
                os.remove(ran)
            terminal.seen = b""
            terminal.type(typed + "\r")
            end = time.monotonic() + 20
            while not os.path.exists(ran) and time.monotonic() < end:
                terminal.quiet(0.1)
            # A folder may have a slash behind it, which zsh takes away again.
            got = [word.rstrip("/") for word in open(ran).read().split("\n")[:-1]] if os.path.exists(ran) else None
            if got != wanted:
                raise SystemExit(f"{shell}: {typed!r} gave {got}, not {wanted}; on the terminal: {terminal.seen!r}")
            print(f"{shell}: {typed!r}", flush=True)
    finally:
        terminal.end()


def main():
    clinvk = os.path.abspath(sys.argv[1])
    missing = [shell for shell in SHELLS if not shutil.which(shell)]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    for shell in SHELLS:
        root = tempfile.mkdtemp(prefix="clinvk-shells-")
        try:
            check(shell, root, scene(root, clinvk))
        finally:
            shutil.rmtree(root, ignore_errors=True)
    print(f"{len(SHELLS) * len(TYPED)} passed, 0 failed")


main()
