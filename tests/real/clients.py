#!/usr/bin/env python3
"""Run the real SDKs and CLIs of other vendors as clients of `clinvk serve` and of `clinvk acp`.

    clients.py [--clinvk PATH] [client ...] [scenario ...]

Behind the server is `echo`, and for some scenarios the vendors' CLIs with the stand-in model
server.  Without words everything runs; a word that is no client chooses the scenarios whose names
start with it.  CLINVK is another way to name the binary; which versions of the CLIs run, CLINVK_VENDOR
says (vendor.py).
"""

import argparse
import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import agents
import sdk
import vendor
from served import Served

# More than two cores' worth: much of it is waiting.
AT_ONCE = 3


@dataclass(frozen=True)
class Client:
    name: str
    # Its program in tests/clients, and its set of packages.
    script: str
    packages: str = ""
    environment: dict = field(default_factory=dict)
    # It is a vendor's CLI itself.
    is_vendor: bool = False

    def command(self):
        if self.script.endswith(".mjs"):
            return [shutil.which("node"), str(sdk.TARGET / "npm" / self.script)]
        # -S: nothing but the pinned packages.
        return [sys.executable, "-S", str(sdk.SCRIPTS / self.script)]

    def variables(self, clis):
        env = self.environment | ({"PATH": clis.path} if self.is_vendor else {})
        if self.packages:
            env["PYTHONPATH"] = str(sdk.TARGET / self.packages)
        return env | {"PYTHONDONTWRITEBYTECODE": "1"} if self.script.endswith(".py") else env


# The longest first, so that nobody waits for one alone.
CLIENTS = {
    client.name: client
    for client in [
        Client("openai-python", "openai_sdk.py", "openai"),
        Client("anthropic-python", "anthropic_sdk.py", "anthropic"),
        Client("claude", "claude_cli.py", is_vendor=True),
        Client("codex", "codex_cli.py", is_vendor=True),
        # It asks GitHub for a list of prices otherwise.
        Client("litellm", "litellm_sdk.py", "litellm", {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
        Client("langchain", "langchain_sdk.py", "langchain"),
        Client("openai-python-1", "openai_sdk.py", "openai1"),
        Client("openai-node", "openai.mjs"),
        Client("anthropic-node", "anthropic.mjs"),
        Client("ai-sdk", "ai.mjs"),
        Client("acp-sdk", "acp.mjs"),
        Client("acpx", "acpx_cli.py", environment={"PATH": agents.ACPX_PATH}),
        Client("curl", "curl.py"),
    ]
}


def play(client, clis, clinvk, words):
    with Served(clinvk, client.name, [*client.command(), *words], client.variables(clis), clis) as world:
        results = []
        for result in world.results():
            results.append(result)
            outcome = "FAILED" if result.problem else "ok"
            problem = "".join(f"\n    {line}" for line in result.problem.splitlines())
            print(f"{outcome:6} {result.seconds:6.2f} s  {label(client, clis)} {result.name}{problem}", flush=True)
        return results


def label(client, clis):
    version = clis.label(client.name)
    return f"{version}: {client.name}" if version else client.name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = vendor.ROOT / "target" / "release" / "clinvk"
    parser.add_argument("--clinvk", default=os.environ.get("CLINVK", default))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    clients = [CLIENTS[word] for word in options.words if word in CLIENTS] or list(CLIENTS.values())
    words = [word for word in options.words if word not in CLIENTS]
    clinvk = os.path.abspath(options.clinvk)
    if not os.access(clinvk, os.X_OK):
        sys.exit(f"clients.py: `{clinvk}` is no program: build it first, or name it with --clinvk")
    folders = vendor.installed()
    sdk.install()
    agents.install_acpx()
    since, results = time.monotonic(), {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # With other versions behind the server, all of the clients again.
        rounds = [(client, clis) for clis in folders for client in clients]
        waiting = {pool.submit(play, client, clis, clinvk, words): label(client, clis) for client, clis in rounds}
        for done in as_completed(waiting):
            results[waiting[done]] = done.result()
    failed = [f"{name} {one.name}" for name, all_ in results.items() for one in all_ if one.problem]
    count = sum(map(len, results.values()))
    print(f"{time.monotonic() - since:.0f} s", *(f"FAILED {label}" for label in failed), sep="\n")
    print(f"{count - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
