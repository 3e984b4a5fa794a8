#!/usr/bin/env python3
"""Record raw dialogues with the vendor CLIs into tests/data/<name>/<scenario>.log.

    record.py [name/scenario ...]        # all of them without arguments
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import vendor
from probe import Dialogue
from standin import (
    Failure, Hang, Refused, StandIn, Text, agent, background_command, shell, tool, write_file,
)  # fmt: skip

DATA = vendor.ROOT / "tests" / "data"

HELLO = ["Hello", " from", " the", " stub", "."]

# Much as clinvk will inject them, with few attempts so that failures end within seconds.
GEMINI_SETTINGS = {
    "general": {"maxAttempts": 2, "sessionRetention": {"enabled": False}},
    "security": {"folderTrust": {"enabled": False}, "auth": {"selectedType": "gemini-api-key"}},
}


# ---------------------------------------------------------------- how a dialogue goes once opened


def ask(dialogue, server):
    dialogue.ask("hi there")
    dialogue.answer()


def ask_twice(dialogue, server):
    """A turn that fails, then one that works: the process has to stay usable."""
    ask(dialogue, server)
    server.play(Text(HELLO))
    ask(dialogue, server)


def ask_until_idle(dialogue, server):
    """A turn to its real end: claude goes on by itself when what it left in the background has ended."""
    dialogue.ask("hi there")
    tasks, state, answered = [], "running", False
    while tasks or state != "idle" or not answered:
        message = dialogue.wait(lambda message: message["type"] in ("system", "result"))
        answered = answered or message["type"] == "result"
        tasks, state = message.get("tasks", tasks), message.get("state", state)
        # When the last task has ended there is one more turn to come.
        answered = answered and message.get("tasks") != []


def deny(dialogue, server):
    dialogue.ask("do it")
    request = dialogue.wait(lambda message: message["type"] == "control_request")
    response = {"subtype": "success", "request_id": request["request_id"], "response": {"behavior": "deny", "message": "no"}}
    dialogue.send({"type": "control_response", "response": response})
    dialogue.answer()
    dialogue.settle()


def interrupt_when(ready):
    """Interrupt a codex turn once ready(dialogue) has returned."""

    def talk(dialogue, server):
        dialogue.ask("hi there")
        turn = dialogue.result(dialogue.asked)["result"]["turn"]["id"]
        ready(dialogue)
        dialogue.request("turn/interrupt", threadId=dialogue.session, turnId=turn)
        dialogue.answer()
        dialogue.settle()

    return talk


def retrying(dialogue):
    dialogue.wait(lambda message: message.get("method") == "error")


def decide(result):
    """Answer the one approval request with this result."""

    def talk(dialogue, server):
        dialogue.ask("do it")
        request = dialogue.wait(lambda message: "id" in message and "method" in message)
        version = {"jsonrpc": "2.0"} if dialogue.name == "gemini" else {}
        dialogue.send(version | {"id": request["id"], "result": result})
        dialogue.answer()

    return talk


def choose(option):
    return decide({"outcome": {"outcome": "selected", "optionId": option}})


def cancel_permission(dialogue, server):
    """Cancel while gemini waits for a permission, answering that as the protocol demands."""
    dialogue.ask("do it")
    request = dialogue.wait(lambda message: "id" in message and "method" in message)
    cancel(dialogue)
    dialogue.send({"jsonrpc": "2.0", "id": request["id"], "result": {"outcome": {"outcome": "cancelled"}}})
    dialogue.answer()


def cancel_stream(dialogue, server):
    dialogue.ask("hi there")
    dialogue.wait(lambda message: "agent_message_chunk" in json.dumps(message))
    cancel(dialogue)
    dialogue.answer()


def cancel(dialogue):
    dialogue.send({"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": dialogue.session}})


# -------------------------------------------------------------------------------------- scenarios


@dataclass
class Scenario:
    turns: Sequence  # of the stand-in; none: nobody listens there
    talk: Callable = ask
    session: dict = field(default_factory=dict)  # parameters of the new thread or session
    arguments: Sequence[str] = ()  # more of them for the CLI
    agents: Sequence = (Text("A report."),)  # the turns of sub-agents
    turns_before: int = 0  # each in a process of its own; then the session goes on in the one that is recorded


QUOTA = Failure(429, "You exceeded your current quota.", "insufficient_quota")
COMMAND = [shell("touch made.txt"), Text(HELLO)]
WRITE = [write_file("made.txt", "hello\n"), Text(HELLO)]
ESCALATION = tool(
    "exec_command",
    {"cmd": "touch made.txt", "sandbox_permissions": "require_escalated", "justification": "to make it"},
)
BACKGROUND = tool("exec_command", {"cmd": "sleep 5", "yield_time_ms": 300})
AGENT = tool("multi_agent_v1.spawn_agent", {"message": "help", "agent_type": "worker"})
UNTRUSTED = {"approvalPolicy": "untrusted", "sandbox": "read-only"}
ON_REQUEST = {"approvalPolicy": "on-request", "sandbox": "read-only"}

SLOW = {"delay": 0.3}
REFUSAL = Text(["I cannot", " help."], refused=True)

SCENARIOS = {
    "claude/agent": Scenario([agent("Report."), Text("I started an agent."), Text("The agent has reported.")], ask_until_idle),
    "claude/agent-with-tool": Scenario(
        [agent("Report."), Text("I started an agent."), Text("The agent has reported.")],
        ask_until_idle,
        agents=[shell("echo report"), Text("A report.")],
    ),
    "claude/background-command": Scenario(
        [background_command("sleep 2"), Text("I started it."), Text("It is done.")], ask_until_idle
    ),
    # The command has ended before the agent has answered, and it goes on all the same.
    "claude/background-command-ended": Scenario(
        [background_command("echo done"), Text(HELLO, **SLOW), Text("It is done.")], ask_until_idle
    ),
    "claude/cut-twice": Scenario([Text(HELLO, cut_after=2, **SLOW)] * 2 + [Text(HELLO)], ask_until_idle),
    "claude/cut-after-thinking": Scenario([Text(HELLO, thinking=["hm"], cut_after=3, **SLOW), Text(HELLO)], ask_until_idle),
    "claude/refused": Scenario([REFUSAL], ask_until_idle),
    "claude/refused-once": Scenario([REFUSAL, Text(HELLO)], ask_until_idle),
    "claude/model-fallback": Scenario(
        [Failure(529)] * 3 + [Text(HELLO)], ask_until_idle, arguments=["--fallback-model", "claude-sonnet-4-5"]
    ),
    "claude/third-turn": Scenario([Text(HELLO)], ask_until_idle, turns_before=2),
    "claude/unreachable": Scenario([], ask_until_idle),
    "claude/denied": Scenario([write_file("made.txt", "hello\n"), Text(HELLO)], deny),
    "codex/refused": Scenario([], interrupt_when(lambda dialogue: time.sleep(20))),
    "codex/error-400": Scenario([Failure(400)], ask_twice),
    "codex/error-401": Scenario([Failure(401)], ask_twice),
    "codex/error-429": Scenario([Failure(429)], ask_twice),
    "codex/error-429-retry-after": Scenario([Failure(429, headers={"retry-after": "1"})], ask_twice),
    "codex/error-429-quota": Scenario([QUOTA], ask_twice),
    "codex/error-500": Scenario([Failure(500)], ask_twice),
    "codex/error-500-interrupt": Scenario([Failure(500)], interrupt_when(lambda dialogue: time.sleep(3))),
    "codex/error-401-interrupt": Scenario([Failure(401)], interrupt_when(retrying)),
    "codex/cut": Scenario([Text(HELLO, cut_after=2)], ask_twice),
    "codex/cut-once": Scenario([Text(HELLO, cut_after=2), Text(HELLO)]),
    "codex/stream-error": Scenario([Text(HELLO, error_after=2)], ask_twice),
    "codex/background": Scenario([BACKGROUND, Text("It runs.")], session=ON_REQUEST | {"sandbox": "danger-full-access"}),
    "codex/agent": Scenario([AGENT, Text("I started an agent."), Hang()]),
    "codex/commentary": Scenario([Text("I look.", phase="commentary", call=shell("true")), Text(HELLO, phase="final_answer")]),
    "codex/empty": Scenario([Text()], ask_twice),
    "codex/approve-command": Scenario(COMMAND, decide({"decision": "accept"}), UNTRUSTED),
    "codex/decline-command": Scenario(COMMAND, decide({"decision": "decline"}), UNTRUSTED),
    "codex/cancel-command": Scenario(COMMAND, decide({"decision": "cancel"}), UNTRUSTED),
    "codex/approve-escalation": Scenario([ESCALATION, Text(HELLO)], decide({"decision": "accept"}), ON_REQUEST),
    "codex/approve-patch": Scenario(WRITE, decide({"decision": "accept"}), ON_REQUEST),
    "codex/decline-patch": Scenario(WRITE, decide({"decision": "decline"}), ON_REQUEST),
    "gemini/refused": Scenario([]),
    "gemini/error-401": Scenario([Failure(401)], ask_twice),
    "gemini/error-429": Scenario([Failure(429)], ask_twice),
    "gemini/error-500": Scenario([Failure(500)], ask_twice),
    "gemini/error-400": Scenario([Failure(400)], ask_twice),
    "gemini/cut": Scenario([Text(HELLO, cut_after=2)], ask_twice),
    "gemini/stream-error": Scenario([Text(HELLO, error_after=2)], ask_twice),
    "gemini/empty": Scenario([Text()], ask_twice),
    "gemini/approve-command": Scenario(COMMAND, choose("proceed_once")),
    "gemini/decline-command": Scenario(COMMAND, choose("cancel")),
    "gemini/approve-write": Scenario(WRITE, choose("proceed_once")),
    "gemini/cancel-permission": Scenario(COMMAND, cancel_permission),
    "gemini/cancel-stream": Scenario([Text(HELLO, delay=0.5)], cancel_stream),
}


# What claude tells of itself in every line or with every turn, and nobody reads.
CHATTER = {
    "agents", "apiKeySource", "capabilities", "mcp_servers", "memory_paths", "output_style", "plugins", "skills",
    "slash_commands", "terminal_slash_commands", "timestamp", "tools", "uuid",
}  # fmt: skip


def short(line):
    """A line of the log without claude's chatter."""
    head, brace, rest = line.partition(" < {")
    if not brace:
        return line
    message = json.loads("{" + rest)
    if CHATTER.isdisjoint(message) or "session_id" not in message:
        return line
    return f"{head} < " + json.dumps({name: value for name, value in message.items() if name not in CHATTER})


def record(path, clis):
    scenario = SCENARIOS[path]
    name = path.partition("/")[0]
    with (
        tempfile.TemporaryDirectory() as home,
        tempfile.TemporaryDirectory() as cwd,
        # gemini ignores system settings unless root owns the whole path and nobody else may write
        # there, which rules out /tmp.
        tempfile.TemporaryDirectory(dir=clis.target) as system,
        StandIn(*scenario.turns) if scenario.turns else Refused() as server,
    ):
        env = clis.environment([name], Path(home), server.url)
        arguments = list(scenario.arguments)
        if name == "claude":
            # As clinvk starts it, with few attempts.
            env |= {"CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1", "CLAUDE_CODE_MAX_RETRIES": "2"}
            arguments += ["--permission-prompt-tool", "stdio"]
            for _ in range(scenario.turns_before):
                before = Dialogue(name, env, cwd, *arguments)
                ask(before, server)
                session = before.wait(lambda message: "session_id" in message)["session_id"]
                before.close()
                arguments = [*scenario.arguments, "--permission-prompt-tool", "stdio", "--resume", session]
        if name == "gemini":
            settings = Path(system, "settings.json")
            settings.write_text(json.dumps(GEMINI_SETTINGS))
            env |= {"GEMINI_CLI_SYSTEM_SETTINGS_PATH": str(settings), "GEMINI_CLI_NO_RELAUNCH": "true"}
            # A fixed model, since `auto` asks a router first.
            arguments = ["-m", "gemini-2.5-flash"]
        dialogue = Dialogue(name, env, cwd, *arguments)
        try:
            if scenario.turns:
                server.play(*scenario.turns, agents=scenario.agents)
            dialogue.open(**scenario.session)
            scenario.talk(dialogue, server)
        except (TimeoutError, EOFError) as error:
            dialogue.log.append(f"# {error}")
        dialogue.close()
        log = "\n".join(map(short, dialogue.log)) + "\n"
        asked = "none" if isinstance(server, Refused) else str(len(server.asked))
        log += f"# requests to the model: {asked}\n"
        for real, neutral in (
            (cwd, "/src/project"),
            (home, "/home/user"),
            (system, "/opt/system"),
            (str(clis.target), "/opt/clis"),
        ):
            log = log.replace(real, neutral)
    target = DATA / f"{path}.log"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(log)
    print(f"{len(log):7} {path}", flush=True)


def main():
    clis = vendor.one()
    # Two at a time: most of them only wait, but the start of a CLI keeps a core busy.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: record(path, clis), sys.argv[1:] or SCENARIOS))


if __name__ == "__main__":
    main()
