#!/usr/bin/env python3
"""An MCP server on standard input and output with one tool, `lookup`, for scenarios that give one to an agent.

    mcp_server.py LOG

The tool's answer has the value of the variable LOOKUP_WORD in it.  LOG gets a line of JSON for every message, and
before them one with the variables of clinvk's that the agent handed down.
"""

import json
import os
import sys

TOOL = {
    "name": "lookup",
    "description": "Looks a thing up.",
    "inputSchema": {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
}


def answer(method, params):
    """The result of a request, or none where there is no such method."""
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "lookup", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        found = f"{params['arguments']['thing']} is {os.environ['LOOKUP_WORD']}"
        return {"content": [{"type": "text", "text": found}]}
    return {} if method == "ping" else None


def main():
    with open(sys.argv[1], "a", buffering=1, encoding="utf-8") as log:
        handed_down = {name: value for name, value in os.environ.items() if name.startswith("CLINVK_")}
        log.write(json.dumps({"environment": handed_down}) + "\n")
        for line in sys.stdin:
            message = json.loads(line)
            log.write(json.dumps(message) + "\n")
            if "id" not in message or "method" not in message:
                continue
            result = answer(message["method"], message.get("params", {}))
            reply = {"result": result} if result is not None else {"error": {"code": -32601, "message": "unknown"}}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)


if __name__ == "__main__":
    main()
