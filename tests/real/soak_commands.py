"""What the clients of soak.py do by command lines: on the server, and beside it in the same home."""

import contextlib
import json
import signal
import subprocess
import time

from scene import holds, same
from soak_clients import ACTIONS as HTTP_ACTIONS
from soak_clients import PATIENCE, Busy, HttpClient


class Client(HttpClient):
    def started(self, *words, here=False, **how):
        """A command line that uses the server, or `here` the home of the server without it."""
        self.soak.count("commands")
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | how
        env = self.soak.environment | ({"CLINVK_HOME": str(self.soak.home)} if here else {"CLINVK_SERVER": self.soak.url})
        return subprocess.Popen([self.soak.clinvk, *words], env=env, cwd=self.soak.work, **how)

    def printed(self, *words, said="", **how):
        """What a command prints that goes well."""
        process = self.started(*words, stdin=subprocess.PIPE, **how)
        try:
            out, err = process.communicate(said, PATIENCE)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0 and '"kind":"busy"' in out:
            raise Busy
        holds(process.returncode == 0, f"{words} ended with {process.returncode}: {err}")
        return out

    def lines(self, *words, **how):
        """The objects that a command prints."""
        return [json.loads(line) for line in self.printed(*words, **how).splitlines()]

    def command(self):
        backend, prompt = self.random.choice(["echo", "kept", "slow", "fork"]), self.words()
        (told,) = self.lines("-b", backend, "-o", "json", "-n", prompt, here=self.random.random() < 0.3)
        self.over(backend, prompt, told)

    def command_map(self):
        items = [self.words() for _ in range(5)]
        for told in self.lines("map", "{}", "-b", "echo", "-P", "3", "-q", "--keep-sessions", said="\n".join(items)):
            self.over("echo", told["item"], told)

    def command_chat(self):
        prompts = [self.words() for _ in range(3)]
        for prompt, told in zip(prompts, self.lines("chat", "-b", "echo", "-o", "json", said="\n".join(prompts)), strict=True):
            self.over("echo", prompt, told)

    def command_alone(self):
        """A run that goes on alone, and is waited for or stopped."""
        prompt = self.words()
        (told,) = self.lines("-b", "slow", "-o", "json", "--no-wait", "-n", prompt)
        if self.random.random() < 0.5:
            self.printed("cancel", told["run_id"])
        else:
            (told,) = self.lines("wait", "-o", "json", told["run_id"])
            self.over("slow", prompt, told)

    def command_sessions(self):
        for session in json.loads(self.printed("sessions", "list", "-n", "1", "--json"))["sessions"]:
            # Another client may have deleted it.
            self.started("sessions", "show", "--turns", session["id"]).communicate(timeout=PATIENCE)

    def command_leaves(self):
        """It is killed, is told to stop, or has a reader that leaves."""
        process = self.started("-b", self.random.choice(["slow", "hang", "flood"]), "--ephemeral", self.words())
        time.sleep(self.random.uniform(0, 0.7))
        ending = self.random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
        process.stdout.close()
        process.stderr.close()
        # One that hangs notices no reader.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2 if ending is None else 0)
        if process.poll() is None:
            process.send_signal(ending or signal.SIGTERM)
        process.wait(PATIENCE)

    # -- spoken to over standard input

    @contextlib.contextmanager
    def spoken(self, *words):
        """A function that asks, and gives the result; at the end the input ends, and the program with it."""
        process, number = self.started(*words, here=True, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL), 0

        def ask(method, **params):
            nonlocal number
            number += 1
            print(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}), file=process.stdin, flush=True)
            for line in process.stdout:
                told = json.loads(line)
                if told.get("id") == number:
                    holds("result" in told, f"{method}: {told}")
                    return told["result"]
            raise AssertionError(f"{words} ended before it answered {method}")

        try:
            yield ask
            process.stdin.close()
            same(process.wait(PATIENCE), 0, f"status of {words}")
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def acp(self):
        """An editor has a conversation."""
        with self.spoken("acp", "-b", "echo") as ask:
            ask("initialize", protocolVersion=1)
            session = ask("session/new", cwd=str(self.soak.work), mcpServers=[])["sessionId"]
            for _ in range(2):
                prompt = self.words()
                ask("session/prompt", sessionId=session, prompt=[{"type": "text", "text": prompt}])
                self.soak.acknowledge(session, prompt, prompt)

    def mcp(self):
        """An agent asks others."""
        with self.spoken("mcp") as ask:
            ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "soak", "version": "1"})
            for backend in ("echo", "crash", "slow"):
                prompt = self.words()
                told = ask("tools/call", name="prompt", arguments={"backend": backend, "prompt": prompt})
                same(told["isError"], backend == "crash", f"isError of {told}")
                if backend != "crash":
                    self.over(backend, prompt, told["structuredContent"])


# What is done, and how often.
ACTIONS = HTTP_ACTIONS | {
    Client.command: 5, Client.command_map: 2, Client.command_chat: 2, Client.command_alone: 3, Client.command_sessions: 2,
    Client.command_leaves: 4, Client.acp: 2, Client.mcp: 2,
}  # fmt: skip
