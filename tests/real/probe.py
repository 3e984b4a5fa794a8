#!/usr/bin/env python3
"""Talk to a raw vendor CLI in its two-way mode, against a stand-in, and print the dialogue.

    probe.py codex --turn shell:'touch x' --turn text:done 'first prompt' 'second prompt'

The agents of agents.py are names too.  Turns: text:..., shell:COMMAND, fail:STATUS, cut:CHUNKS, error:CHUNKS, empty, hang; `refused`
alone stands for a server that is not there.
"""

import argparse
import json
import queue
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import agents
import vendor
from standin import Failure, Hang, Refused, StandIn, Text, shell

COMMANDS = {
    "claude": [
        "claude", "-p", "--input-format", "stream-json", "--output-format", "stream-json",
        "--verbose", "--include-partial-messages",
    ],
    "codex": ["codex", "app-server"],
    # The others speak the Agent Client Protocol.
    "gemini": ["gemini", "--acp"],
    **{agent.name: agent.command for agent in agents.AGENTS.values()},
}  # fmt: skip


class Dialogue:
    """One running CLI.  `log` has a line per message: seconds, > < or ! (stderr), the line."""

    def __init__(self, name, env, cwd, *arguments):
        self.name, self.cwd = name, str(cwd)
        command = COMMANDS[name] + list(arguments)
        self.log = ["# " + " ".join(command)]
        self._numbers = iter(range(1, 1_000_000))
        self._inbox = queue.Queue()
        self._start = time.monotonic()
        self._process = subprocess.Popen(
            command, env=env, cwd=cwd, text=True, bufsize=1, errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, "<"), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, "!"), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _note(self, mark, line):
        self.log.append(f"{time.monotonic() - self._start:8.3f} {mark} {line}")

    def _read(self, pipe, mark):
        for line in pipe:
            self._note(mark, line.rstrip("\n"))
            # Anything else on stdout is in the log, and no message to wait for.
            if mark == "<" and line.startswith("{"):
                self._inbox.put(json.loads(line))
        if mark == "<":
            self._inbox.put(None)

    def send(self, value):
        line = json.dumps(value)
        self._note(">", line)
        self._process.stdin.write(line + "\n")

    def wait(self, wanted, timeout=60):
        """The next message for which wanted(message) holds; others before it are passed over."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self._inbox.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"nothing wanted within {timeout} s") from None
            if message is None:
                raise EOFError("the CLI has ended")
            if wanted(message):
                return message

    def request(self, method, **params):
        """Send a JSON-RPC request without waiting; gives its id."""
        number = next(self._numbers)
        # ACP wants the version field, codex leaves it out.
        version = {} if self.name == "codex" else {"jsonrpc": "2.0"}
        self.send(version | {"id": number, "method": method, "params": params})
        return number

    def result(self, number, timeout=60):
        """The response to a request."""
        # The CLI numbers its own requests too, so the number alone does not tell.
        return self.wait(lambda message: message.get("id") == number and "method" not in message, timeout)

    def open(self, **session):
        """Shake hands and start a conversation; `session` adds to the starting parameters."""
        if self.name == "codex":
            client = {"name": "clinvk", "title": "clinvk", "version": "0"}
            self.result(self.request("initialize", clientInfo=client))
            self.send({"method": "initialized"})
            answer = self.result(self.request("thread/start", cwd=self.cwd, **session))
            self.session = answer["result"]["thread"]["id"]
        elif self.name != "claude":
            capabilities = {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
            client = {"name": "clinvk", "version": "0"}
            about = {"protocolVersion": 1, "clientCapabilities": capabilities, "clientInfo": client}
            self.result(self.request("initialize", **about))
            answer = self.result(self.request("session/new", cwd=self.cwd, mcpServers=[], **session))
            self.session = answer["result"]["sessionId"]

    def ask(self, text):
        """Send a prompt without waiting for its end."""
        block = {"type": "text", "text": text}
        if self.name == "claude":
            self.send({"type": "user", "message": {"role": "user", "content": text}})
        elif self.name == "codex":
            self.asked = self.request("turn/start", threadId=self.session, input=[block])
        else:
            self.asked = self.request("session/prompt", sessionId=self.session, prompt=[block])

    def answer(self, timeout=60):
        """Wait for the end of the prompt that was asked; gives the message that ended it."""
        if self.name == "claude":
            return self.wait(lambda message: message["type"] == "result", timeout)
        if self.name == "codex":
            return self.wait(lambda message: message.get("method") == "turn/completed", timeout)
        return self.result(self.asked, timeout)

    def settle(self, seconds=1):
        """Let messages come for a while that nobody waits for."""
        time.sleep(seconds)

    def close(self, timeout=5):
        """End by closing its input, or by force; gives the exit code."""
        self._process.stdin.close()
        before = time.monotonic()
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout)
        self.log.append(f"# exit {code} after {time.monotonic() - before:.3f}s")
        return code


def _turn(word):
    kind, _, rest = word.partition(":")
    chunks = ["Hello", " from", " the", " stub", "."]
    match kind:
        case "text":
            return Text(rest)
        case "shell":
            return shell(rest)
        case "fail":
            return Failure(int(rest))
        case "cut":
            return Text(chunks, cut_after=int(rest))
        case "error":
            return Text(chunks, error_after=int(rest))
        case "empty":
            return Text()
        case "hang":
            return Hang()
    raise SystemExit(f"unknown turn: {word}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=COMMANDS)
    parser.add_argument("--turn", action="append", default=[])
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("prompts", nargs="+")
    options = parser.parse_intermixed_args()
    clis = agents.installed([options.name]) if options.name in agents.AGENTS else vendor.one()
    refused = options.turn == ["refused"]
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as cwd,
        Refused() if refused else StandIn(*map(_turn, options.turn)) as server,
    ):
        dialogue = Dialogue(options.name, clis.environment([options.name], Path(home), server.url), cwd)
        try:
            dialogue.open()
            for prompt in options.prompts:
                dialogue.ask(prompt)
                dialogue.answer(options.timeout)
        except (TimeoutError, EOFError) as error:
            dialogue.log.append(f"# {error}")
        dialogue.close()
        print("\n".join(dialogue.log))


if __name__ == "__main__":
    main()
