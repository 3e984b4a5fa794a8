#!/usr/bin/env python3
"""An MCP server with one tool, `lookup`, for scenarios that give one to an agent.

    mcp_server.py LOG

It is on standard input and output; the tool's answer has the value of the variable LOOKUP_WORD in it.  LOG gets every
message, a line each.  `over_http` is the same over HTTP, where the header X-Lookup-Word has the word.
"""

import contextlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOOL = {
    "name": "lookup",
    "description": "Looks a thing up.",
    "inputSchema": {"type": "object", "properties": {"thing": {"type": "string"}}, "required": ["thing"]},
}


def answer(method, params, word):
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
        found = f"{params['arguments']['thing']} is {word}"
        return {"content": [{"type": "text", "text": found}]}
    return {} if method == "ping" else None


def reply(message, word):
    """The answer to a message that wants one."""
    if "id" not in message or "method" not in message:
        return None
    result = answer(message["method"], message.get("params", {}), word)
    said = {"result": result} if result is not None else {"error": {"code": -32601, "message": "unknown"}}
    return {"jsonrpc": "2.0", "id": message["id"], **said}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = reply(message, self.headers["X-Lookup-Word"])
        self.send_response(200 if said else 202)
        body = json.dumps(said).encode() if said else b""
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send_response(405)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_DELETE = do_GET


@contextlib.contextmanager
def over_http():
    """Gives the address of a server over HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()


def main():
    with open(sys.argv[1], "a", buffering=1, encoding="utf-8") as log:
        for line in sys.stdin:
            message = json.loads(line)
            log.write(json.dumps(message) + "\n")
            if said := reply(message, os.environ["LOOKUP_WORD"]):
                print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
