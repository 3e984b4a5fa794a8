"""An agent of the Agent Client Protocol for check_page.py: what it does is in the prompt, and what it was sent in $HOME/record."""

import json
import os
import sys


def say(**message):
    print(json.dumps({"jsonrpc": "2.0"} | message), flush=True)


def update(session, of, /, **fields):
    say(method="session/update", params={"sessionId": session, "update": {"sessionUpdate": of} | fields})


def words(session, text, kind="agent_message_chunk"):
    update(session, kind, content={"type": "text", "text": text})


def messages():
    for line in sys.stdin:
        yield json.loads(line)


def turn(asked, session, number, prompt, heard):
    """One turn; gives why it ended."""
    pictures = [part for part in prompt if part["type"] == "image"]
    text = "".join(part.get("text", "") for part in prompt)
    if text == "hold":
        words(session, "first of <b>hold</b>\n")
        with open(os.path.join(os.environ["HOME"], "go")) as go:
            go.read()
        words(session, "second")
    elif text == "slow":
        words(session, "first of slow")
        for message in heard:
            if message.get("method") == "session/cancel":
                return "cancelled"
    elif text == "long":
        for line in range(200):
            words(session, f"line {line}\n")
    elif text == "think":
        words(session, "let me see", "agent_thought_chunk")
        update(session, "tool_call", toolCallId="1", title="read notes.txt", kind="read", status="pending", rawInput={"path": "notes.txt"})
        update(session, "tool_call_update", toolCallId="1", status="completed", content=[{"type": "content", "content": {"type": "text", "text": "some notes"}}])
        words(session, "I have seen the notes")
    else:
        words(session, f"turn {number}: {text}" + f", {len(pictures)} image" * bool(pictures))
    return "end_turn"


def main():
    turns, heard = {}, messages()
    for message in heard:
        params, answer = message.get("params", {}), {}
        match message.get("method"):
            case "initialize":
                answer = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True, "promptCapabilities": {"image": True}}, "authMethods": []}
            case "session/new":
                answer = {"sessionId": f"session-{os.getpid()}-{len(turns)}"}
                turns[answer["sessionId"]] = 0
            case "session/load":
                turns.setdefault(params["sessionId"], 0)
            case "session/prompt":
                session = params["sessionId"]
                turns[session] += 1
                with open(os.path.join(os.environ["HOME"], "record"), "a") as record:
                    print(json.dumps(params), file=record)
                answer = {"stopReason": turn(message, session, turns[session], params["prompt"], heard)}
        if "id" in message:
            say(id=message["id"], result=answer)


main()
