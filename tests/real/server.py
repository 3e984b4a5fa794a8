"""A clinvk server of one's own for a check, in a home of its own."""

import contextlib
import json
import os
import re
import select
import subprocess
import tempfile
import time
from pathlib import Path

# A server that does not say within this where it listens never will.
PATIENCE = 60


@contextlib.contextmanager
def server(clinvk, config, **variables):
    """Run `clinvk serve` with this configuration and these variables; gives its URL and its home.

    It has to go in good order, too: with SIGTERM, within its patience, with exit status 0.
    """
    with tempfile.TemporaryDirectory(prefix="clinvk-served-") as home:
        env = {"HOME": home, "PATH": "/usr/bin:/bin", "TMPDIR": home, "CLINVK_HOME": home}
        Path(home, "config.json").write_text(json.dumps({"default_backend": "echo"} | config))
        log = open(os.path.join(home, "log"), "w+")
        process = subprocess.Popen(
            [os.path.abspath(clinvk), "serve", "--port", "0"], env=env | variables, cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
        try:
            yield listens(process, log), Path(home)
        finally:
            process.terminate()
            try:
                status = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        assert status == 0, f"the server ended with {status}: {said(log)}"


def listens(process, log):
    """The URL, once the server says it."""
    deadline, words = time.monotonic() + PATIENCE, b""
    while b"Press Ctrl+C" not in words:
        readable, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        part = os.read(process.stdout.fileno(), 4096) if readable else b""
        assert part, f"the server does not listen: {words.decode()}{said(log)}"
        words += part
    return re.search(rb"http://\S+", words)[0].decode()


def said(log):
    log.seek(0)
    return log.read()
