"""A model server on loopback that the real vendor CLIs talk to in tests.

One `StandIn` speaks four dialects at once: Anthropic Messages (claude), OpenAI Responses (codex),
Gemini (gemini) and Chat Completions (agents of other vendors).  What it answers is a script of turns set by the test that owns it:

    with StandIn(Text(["Hello", "."], delay=0.5), shell("touch made.txt"), Failure(429)) as server:
        ...                                     # run a CLI against server.url
        assert server.user_texts(1) == [...]    # what did its second request contain?

Every turn answers one request; the last one repeats.  Requests that a CLI makes on its own account
(a title, a routing question) are answered plainly, use up no turn, and are marked `side`; those of
sub-agents, which come when they like, have turns of their own.
"""

import itertools
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The numbers in every answer, so that a test can tell which count went where.
INPUT, CACHED, OUTPUT, REASONING = 100, 40, 12, 5

# Long enough for a slow machine, short enough that a forgotten release() ends the test.
GATE_TIMEOUT = 120


# ---------------------------------------------------------------------------------------- turns

# Chooses a tool call: (dialect name, the tools on offer, of chat with their schemas) -> (tool name, its input).
Call = Callable[[str, list[str]], tuple[str, dict]]


@dataclass
class Text:
    """An answer: thinking chunks, then text chunks, then a tool call, each part optional.

    No chunks and no call makes the empty answer.
    """

    chunks: Sequence[str] | str = ()
    delay: float = 0.0  # seconds between two chunks
    thinking: Sequence[str] = ()
    call: Call | None = None
    phase: str | None = None  # what a message is to codex: commentary, final_answer
    gated: bool = False  # wait for release() before each chunk
    cut_after: int | None = None  # break the connection after so many chunks
    error_after: int | None = None  # send the dialect's in-stream error after so many chunks
    refused: bool = False  # end as a model that will not answer (anthropic only)

    def __post_init__(self):
        if isinstance(self.chunks, str):
            self.chunks = [self.chunks]


@dataclass
class Failure:
    """An HTTP error with the body the real service would send."""

    status: int
    message: str = "The stand-in refuses."
    code: str | None = None  # instead of the dialect's usual word for this status
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Chosen:
    """The turn that `of` gives for the conversation so far, [(role, text)]: for several conversations at once."""

    of: Callable[[list], object]


@dataclass
class Hang:
    """Take the request and send nothing until release(), close() or the client hangs up."""


def tool(name: str, arguments: dict) -> Call:
    """A call of one named tool, whoever asks; codex's may stand in a namespace (`space.name`)."""
    return lambda dialect, offered: (name, arguments)


def shell(command: str) -> Call:
    """A call of each vendor's own shell tool."""

    def choose(dialect, offered):
        if dialect == "anthropic":
            return "Bash", {"command": command, "description": "a test command"}
        if dialect == "gemini":
            return "run_shell_command", {"command": command, "description": "a test command"}
        if dialect == "chat":
            return fitting(offered, SHELLS, command=command, description="a test command")
        # Which of its two shell tools codex offers depends on the model's name.
        if "shell_command" in offered:
            return "shell_command", {"command": command}
        return "exec_command", {"cmd": command}

    return choose


# How the agents that speak Chat Completions name their tools.
SHELLS = ("bash", "Bash", "run_shell_command")
WRITERS = ("write", "Write", "write_file", "create")


def fitting(offered: dict, names: Sequence[str], **arguments) -> tuple[str, dict]:
    """A call of the one of these tools that is offered, with those of the arguments that it knows."""
    name = next((name for name in names if name in offered), names[0])
    known = offered.get(name, {}).get("properties", {})
    return name, {key: value for key, value in arguments.items() if key in known}


def agent(prompt: str) -> Call:
    """A call of claude's tool that starts a sub-agent."""
    return tool("Agent", {"description": "a report", "prompt": prompt, "subagent_type": "general-purpose"})


def background_command(command: str) -> Call:
    """A call of claude's shell that does not wait for its end."""
    return tool("Bash", {"command": command, "description": "a command", "run_in_background": True})


def write_file(path: str, content: str) -> Call:
    """A call that makes a new file (content: whole lines) with each vendor's own tool."""
    lines = "".join(f"+{line}\n" for line in content.splitlines())
    patch = f"*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch\n"

    def choose(dialect, offered):
        arguments = {"file_path": path, "content": content}
        if dialect == "anthropic":
            return "Write", arguments
        if dialect == "gemini":
            return "write_file", arguments
        if dialect == "chat":
            return fitting(offered, WRITERS, path=path, filePath=path, file_text=content, **arguments)
        # codex recognises this command line and applies the patch itself.
        return shell(f"apply_patch <<'EOF'\n{patch}EOF\n")(dialect, offered)

    return choose


# ------------------------------------------------------------------------------------- dialects
#
# Each dialect reads a request body in neutral terms and writes answers.  stream() yields pairs
# (is it a chunk?, SSE event); the server paces, counts and cuts at the chunks.

_serial = itertools.count(1)


def _flat(content) -> str:
    """The text of a content value: a string or a list of blocks."""
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content or [])


class Anthropic:
    name = "anthropic"
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        529: "overloaded_error",
    }

    def owns(self, path):
        return path == "/v1/messages"

    def is_of_agent(self, headers):
        return "x-claude-code-agent-id" in headers

    def is_side(self, path, body):
        # The quota probe asks for one token; the question for a title wants JSON and has no tools.
        if body.get("max_tokens") == 1:
            return True
        wants_json = "format" in body.get("output_config", {})
        return wants_json and not body.get("tools")

    def side_text(self, body):
        return json.dumps({"title": "A title"})

    def streams(self, path, body):
        return body.get("stream", False)

    def model(self, path, body):
        return body["model"]

    def system(self, body):
        # claude also puts messages of the role "system" among the others.
        texts = [_flat(body.get("system"))]
        for message in body["messages"]:
            if message["role"] == "system":
                texts.append(_flat(message["content"]))
        return "\n".join(texts)

    def tools(self, body):
        return [tool["name"] for tool in body.get("tools", [])]

    def conversation(self, body):
        for message in body["messages"]:
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            for block in content:
                match block["type"]:
                    case "text" if message["role"] != "system":
                        yield message["role"], block["text"]
                    case "tool_use":
                        yield "call", json.dumps(block["input"])
                    case "tool_result":
                        yield "tool", _flat(block.get("content"))

    def failure(self, status, message, code):
        kind = code or self.kinds.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}}

    def _message(self, model, content, stop):
        return {
            "id": f"msg_{next(_serial)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {
                "input_tokens": INPUT,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": CACHED,
                "output_tokens": OUTPUT,
            },
        }

    def _blocks(self, turn, call):
        """(block as it starts, its deltas, block as it ends) for each part of the answer."""
        if turn.thinking:
            deltas = [{"type": "thinking_delta", "thinking": text} for text in turn.thinking]
            yield (
                {"type": "thinking", "thinking": "", "signature": ""},
                deltas,
                {"type": "thinking", "thinking": "".join(turn.thinking), "signature": "c2ln"},
            )
        if turn.chunks:
            deltas = [{"type": "text_delta", "text": text} for text in turn.chunks]
            block = {"type": "text", "text": ""}
            yield block, deltas, block | {"text": "".join(turn.chunks)}
        if call:
            block = {"type": "tool_use", "id": f"toolu_{next(_serial)}", "name": call[0]}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(call[1])}
            yield block | {"input": {}}, [delta], block | {"input": call[1]}

    def whole(self, turn, call, model):
        content = [end for _, _, end in self._blocks(turn, call)]
        return self._message(model, content, self._stop(turn, call))

    def _stop(self, turn, call):
        return "refusal" if turn.refused else "tool_use" if call else "end_turn"

    def _event(self, kind, **fields):
        return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n"

    def stream(self, turn, call, model):
        yield False, self._event("message_start", message=self._message(model, [], None))
        for index, (start, deltas, end) in enumerate(self._blocks(turn, call)):
            yield False, self._event("content_block_start", index=index, content_block=start)
            for delta in deltas:
                is_chunk = start["type"] != "tool_use"
                yield is_chunk, self._event("content_block_delta", index=index, delta=delta)
            if "signature" in end:
                delta = {"type": "signature_delta", "signature": end["signature"]}
                yield False, self._event("content_block_delta", index=index, delta=delta)
            yield False, self._event("content_block_stop", index=index)
        delta = {"stop_reason": self._stop(turn, call), "stop_sequence": None}
        yield False, self._event("message_delta", delta=delta, usage={"output_tokens": OUTPUT})
        yield False, self._event("message_stop")

    def stream_error(self):
        error = {"type": "overloaded_error", "message": "Overloaded"}
        return self._event("error", error=error)


class OpenAI:
    name = "openai"
    # status -> (type, code)
    kinds = {
        400: ("invalid_request_error", None),
        401: ("invalid_request_error", "invalid_api_key"),
        403: ("invalid_request_error", None),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
    }

    def owns(self, path):
        return path == "/v1/responses"

    def is_of_agent(self, headers):
        return False

    def is_side(self, path, body):
        # The question for a title.
        schema = body.get("text", {}).get("format", {}).get("schema", {})
        return list(schema.get("properties", ())) == ["title"]

    def side_text(self, body):
        return json.dumps({"title": "A title"})

    def streams(self, path, body):
        return body.get("stream", False)

    def model(self, path, body):
        return body["model"]

    def system(self, body):
        texts = [body.get("instructions", "")]
        for item in body["input"]:
            if item.get("role") in ("system", "developer"):
                texts.append(_flat(item["content"]))
        return "\n".join(texts)

    def tools(self, body):
        return [tool.get("name", tool["type"]) for tool in body.get("tools", [])]

    def conversation(self, body):
        for item in body["input"]:
            match item.get("type", "message"):
                case "message" if item["role"] in ("user", "assistant"):
                    yield item["role"], _flat(item["content"])
                case "function_call":
                    yield "call", item["arguments"]
                case "function_call_output":
                    yield "tool", _flat(item["output"])

    def failure(self, status, message, code):
        kind, usual = self.kinds.get(status, ("server_error", None))
        # An own code is also the type, as in the service's insufficient_quota.
        error = {"type": code or kind, "code": code or usual}
        return {"error": {"message": message, "param": None} | error}

    def _items(self, turn, call):
        """(item as it is added, events between, item when done) for each part of the answer."""
        if turn.thinking:
            item = {"type": "reasoning", "id": f"rs_{next(_serial)}"}
            place = {"item_id": item["id"], "summary_index": 0}
            text = {"type": "summary_text", "text": "".join(turn.thinking)}
            events = [(False, "response.reasoning_summary_part.added", {"part": text | {"text": ""}})]
            for delta in turn.thinking:
                events.append((True, "response.reasoning_summary_text.delta", {"delta": delta}))
            events.append((False, "response.reasoning_summary_text.done", {"text": text["text"]}))
            events.append((False, "response.reasoning_summary_part.done", {"part": text}))
            events = [(chunk, kind, place | fields) for chunk, kind, fields in events]
            yield item | {"summary": []}, events, item | {"summary": [text]}
        if turn.chunks:
            item = {"type": "message", "id": f"msg_{next(_serial)}", "role": "assistant"}
            item |= {"phase": turn.phase} if turn.phase else {}
            place = {"item_id": item["id"], "content_index": 0}
            text = {"type": "output_text", "text": "".join(turn.chunks), "annotations": []}
            events = [(False, "response.content_part.added", {"part": text | {"text": ""}})]
            for delta in turn.chunks:
                events.append((True, "response.output_text.delta", {"delta": delta}))
            events.append((False, "response.output_text.done", {"text": text["text"]}))
            events.append((False, "response.content_part.done", {"part": text}))
            events = [(chunk, kind, place | fields) for chunk, kind, fields in events]
            yield (
                item | {"status": "in_progress", "content": []},
                events,
                item | {"status": "completed", "content": [text]},
            )
        if call:
            number = next(_serial)
            item = {
                "type": "function_call",
                "id": f"fc_{number}",
                "call_id": f"call_{number}",
                "name": call[0].rpartition(".")[2],
            }
            if "." in call[0]:
                item["namespace"] = call[0].rpartition(".")[0]
            arguments = json.dumps(call[1])
            done = {"item_id": item["id"], "arguments": arguments}
            events = [(False, "response.function_call_arguments.done", done)]
            yield item | {"arguments": ""}, events, item | {"arguments": arguments}

    def _response(self, model, status, **fields):
        identity = {"id": f"resp_{next(_serial)}", "object": "response"}
        return identity | {"model": model, "status": status} | fields

    def _usage(self):
        return {
            "input_tokens": INPUT,
            "input_tokens_details": {"cached_tokens": CACHED},
            "output_tokens": OUTPUT,
            "output_tokens_details": {"reasoning_tokens": REASONING},
            "total_tokens": INPUT + OUTPUT,
        }

    def whole(self, turn, call, model):
        output = [done for _, _, done in self._items(turn, call)]
        return self._response(model, "completed", output=output, usage=self._usage())

    def _event(self, kind, **fields):
        return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n"

    def stream(self, turn, call, model):
        response = self._response(model, "in_progress", output=[], usage=None)
        yield False, self._event("response.created", response=response)
        output = []
        for index, (added, events, done) in enumerate(self._items(turn, call)):
            yield False, self._event("response.output_item.added", output_index=index, item=added)
            for is_chunk, kind, fields in events:
                yield is_chunk, self._event(kind, output_index=index, **fields)
            yield False, self._event("response.output_item.done", output_index=index, item=done)
            output.append(done)
        response |= {"status": "completed", "output": output, "usage": self._usage()}
        yield False, self._event("response.completed", response=response)

    def stream_error(self):
        error = {"code": "server_error", "message": "The stand-in broke off."}
        return self._event("response.failed", response=self._response(None, "failed", error=error))


class Chat:
    """Chat Completions, which agents of other vendors speak."""

    name = "chat"
    kinds = OpenAI.kinds

    def owns(self, path):
        return path == "/v1/chat/completions"

    def is_of_agent(self, headers):
        return False

    def is_side(self, path, body):
        # The question for a title has no tools.
        return "tools" not in body and "title" in self.system(body)

    def side_text(self, body):
        return "A title"

    def streams(self, path, body):
        return body.get("stream", False)

    def model(self, path, body):
        return body["model"]

    def system(self, body):
        return "\n".join(_flat(message["content"]) for message in body["messages"] if message["role"] in ("system", "developer"))

    def tools(self, body):
        return {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in body.get("tools", [])}

    def conversation(self, body):
        for message in body["messages"]:
            if message["role"] in ("user", "assistant", "tool") and message.get("content"):
                yield message["role"], _flat(message["content"])
            for call in message.get("tool_calls") or []:
                yield "call", call["function"]["arguments"]

    def failure(self, status, message, code):
        kind, usual = self.kinds.get(status, ("server_error", None))
        return {"error": {"message": message, "param": None, "type": code or kind, "code": code or usual}}

    def _usage(self):
        return {
            "prompt_tokens": INPUT,
            "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT,
            "prompt_tokens_details": {"cached_tokens": CACHED},
            "completion_tokens_details": {"reasoning_tokens": REASONING},
        }

    def _calls(self, call):
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        return {"tool_calls": [{"index": 0, "id": f"call_{next(_serial)}", "type": "function", "function": function}]}

    def _answer(self, model, kind, **choice):
        identity = {"id": f"chatcmpl-{next(_serial)}", "object": kind, "created": int(time.time()), "model": model}
        return identity | {"choices": [{"index": 0} | choice]}

    def whole(self, turn, call, model):
        message = {"role": "assistant", "content": "".join(turn.chunks)} | (self._calls(call) if call else {})
        answer = self._answer(model, "chat.completion", message=message, finish_reason=self._stop(call))
        return answer | {"usage": self._usage()}

    def _stop(self, call):
        return "tool_calls" if call else "stop"

    def stream(self, turn, call, model):
        def event(delta, stop=None, **fields):
            answer = self._answer(model, "chat.completion.chunk", delta=delta, finish_reason=stop)
            return f"data: {json.dumps(answer | fields)}\n\n"

        yield False, event({"role": "assistant", "content": ""})
        for text in turn.thinking:
            yield True, event({"reasoning_content": text})
        for text in turn.chunks:
            yield True, event({"content": text})
        if call:
            yield False, event(self._calls(call))
        yield False, event({}, self._stop(call), usage=self._usage())
        yield False, "data: [DONE]\n\n"

    def stream_error(self):
        return f"data: {json.dumps(self.failure(500, 'The stand-in broke off.', None))}\n\n"


class Gemini:
    name = "gemini"
    kinds = {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
        503: "UNAVAILABLE",
    }

    def owns(self, path):
        method = path.partition(":")[2]
        methods = ("generateContent", "streamGenerateContent")
        return path.startswith("/v1beta/models/") and method in methods

    def is_of_agent(self, headers):
        return False

    def is_side(self, path, body):
        # Routing and summaries want JSON or go to the smallest model, never streamed; the
        # conversation always is.
        wants_json = "responseMimeType" in body.get("generationConfig", {})
        return not self.streams(path, body) and (wants_json or "flash-lite" in path)

    def side_text(self, body):
        # What the router wants; whoever asks something else takes any text or does without.
        return json.dumps({"complexity_reasoning": "plain", "complexity_score": 10})

    def streams(self, path, body):
        return path.endswith(":streamGenerateContent")

    def model(self, path, body):
        return path.removeprefix("/v1beta/models/").partition(":")[0]

    def system(self, body):
        return _flat(body.get("systemInstruction", {}).get("parts"))

    def tools(self, body):
        return [
            declaration["name"]
            for tool in body.get("tools", [])
            for declaration in tool.get("functionDeclarations", [])
        ]

    def conversation(self, body):
        for content in body["contents"]:
            role = "assistant" if content["role"] == "model" else content["role"]
            for part in content["parts"]:
                if "functionCall" in part:
                    yield "call", json.dumps(part["functionCall"].get("args"))
                elif "functionResponse" in part:
                    yield "tool", json.dumps(part["functionResponse"]["response"])
                elif "text" in part and not part.get("thought"):
                    yield role, part["text"]

    def failure(self, status, message, code):
        word = code or self.kinds.get(status, "UNKNOWN")
        return {"error": {"code": status, "message": message, "status": word}}

    def _parts(self, turn, call):
        """(is it a chunk?, part) for the whole answer."""
        for text in turn.thinking:
            yield True, {"text": text, "thought": True}
        for text in turn.chunks:
            yield True, {"text": text}
        if call:
            yield False, {"functionCall": {"name": call[0], "args": call[1]}}

    def _response(self, model, parts, **fields):
        content = {"role": "model"} | ({"parts": parts} if parts else {})
        return {
            "candidates": [{"content": content, "index": 0} | fields],
            "usageMetadata": {
                "promptTokenCount": INPUT,
                "cachedContentTokenCount": CACHED,
                "candidatesTokenCount": OUTPUT,
                "thoughtsTokenCount": REASONING,
                "totalTokenCount": INPUT + OUTPUT + REASONING,
            },
            "modelVersion": model,
        }

    def whole(self, turn, call, model):
        parts = [part for _, part in self._parts(turn, call)]
        return self._response(model, parts, finishReason="STOP")

    def _event(self, value):
        return f"data: {json.dumps(value)}\r\n\r\n"

    def stream(self, turn, call, model):
        for is_chunk, part in self._parts(turn, call):
            yield is_chunk, self._event(self._response(model, [part]))
        yield False, self._event(self._response(model, [], finishReason="STOP"))

    def stream_error(self):
        return self._event(self.failure(503, "The stand-in broke off.", None))


DIALECTS = (Anthropic(), OpenAI(), Chat(), Gemini())


# --------------------------------------------------------------------------------------- server


class Gone(Exception):
    """The client hung up, or the stand-in was closed, before the answer was complete."""


class StandIn:
    """The server.  `url` is its address, `requests` the log, `sent` the number of chunks of the conversation sent."""

    def __init__(self, *turns):
        self.requests: list[dict] = []
        self.sent = 0
        self._changed = threading.Condition()  # guards everything here
        self._permits = 0
        self._closed = False
        self.play(*(turns or (Text("Hello."),)))
        stand_in = self

        class Bound(_Handler):
            owner = stand_in

        self._server = _Server(("127.0.0.1", 0), Bound)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        # The interval is what close() may have to wait.
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    # -- what it answers

    def play(self, *turns, agents=(Text("The agent's report."),)):
        """Replace the script: the next request gets the first of these turns, a sub-agent's the first of `agents`."""
        with self._changed:
            # A bare call, as shell() gives it, is an answer without text.
            plain = lambda turns: [Text(call=turn) if callable(turn) else turn for turn in turns]
            self._turns, self._agents = plain(turns), plain(agents)

    def release(self, chunks=1):
        """Let so many chunks of gated turns go (or hanging requests end)."""
        with self._changed:
            self._permits += chunks
            self._changed.notify_all()

    def _next_turn(self, of_agent):
        with self._changed:
            turns = self._agents if of_agent else self._turns
            return turns.pop(0) if len(turns) > 1 else turns[0]

    # -- what it was asked

    @property
    def asked(self):
        """The requests of the conversation itself; the numbers below count these."""
        return [request for request in self.requests if not (request["side"] or request["of_agent"])]

    def wait_asked(self, count, timeout=30):
        """Wait until so many requests of the conversation have arrived."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.asked) >= count, timeout):
                raise TimeoutError(f"{len(self.asked)} of {count} requests within {timeout} s")

    def conversation(self, number=-1):
        """[(role, text)], role: user, assistant, call (a tool's input) or tool (its output)."""
        request = self.asked[number]
        return list(request["dialect"].conversation(request["body"]))

    def user_texts(self, number=-1):
        return [text for role, text in self.conversation(number) if role == "user"]

    def system_text(self, number=-1):
        request = self.asked[number]
        return request["dialect"].system(request["body"])

    def model(self, number=-1):
        request = self.asked[number]
        return request["dialect"].model(request["path"], request["body"])

    def tools(self, number=-1):
        """Names of the tools the agent offered to the model."""
        request = self.asked[number]
        return request["dialect"].tools(request["body"])

    def _record(self, **request):
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
        return request

    # -- pacing

    def _pause(self, connection, seconds=None, permit=False):
        """Wait for a time, or for a permit; raise Gone as soon as nobody wants the answer."""
        deadline = time.monotonic() + (GATE_TIMEOUT if seconds is None else seconds)
        while True:
            with self._changed:
                if permit and self._permits:
                    self._permits -= 1
                    return
                left = deadline - time.monotonic()
                if left > 0 and not self._closed:
                    # Short, because a hang-up of the client wakes nobody.
                    self._changed.wait(min(left, 0.05))
                elif permit or self._closed:
                    raise Gone
                else:
                    return
            if _hung_up(connection):
                raise Gone

    def _count(self):
        with self._changed:
            self.sent += 1
            self._changed.notify_all()


def _hung_up(connection):
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # CLIs open many connections at once
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that breaks its connection is a thing tests do on purpose


class _Handler(BaseHTTPRequestHandler):
    owner: StandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a delayed chunk would look like a slow agent

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._side(200, {})

    def do_GET(self):
        # Also codex's attempt to talk over a WebSocket: a plain answer makes it use HTTP.
        self._side(404, {"error": {"message": "not here"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith(("/count_tokens", ":countTokens")):
            return self._side(200, {"input_tokens": INPUT, "totalTokens": INPUT}, body)
        dialect = next((dialect for dialect in DIALECTS if dialect.owns(path)), None)
        if dialect is None:
            return self._side(404, {"error": {"message": "not here"}}, body)
        side = dialect.is_side(path, body)
        request = self._log(dialect, path, body, side)
        turn = Text(dialect.side_text(body)) if side else self.owner._next_turn(request["of_agent"])
        if isinstance(turn, Chosen):
            turn = turn.of(list(dialect.conversation(body)))
        try:
            self._answer(turn, request)
        except (Gone, OSError):
            request["gone"] = True
            self.close_connection = True

    def _log(self, dialect, path, body, side):
        return self.owner._record(
            dialect=dialect,
            path=path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            side=side,
            of_agent=dialect is not None and dialect.is_of_agent(self.headers),
            time=time.monotonic(),
            gone=False,  # becomes true when the client hangs up before the end of the answer
        )

    def _side(self, status, value, body=None):
        self._log(None, self.path, body, side=True)
        self._reply(status, value)

    def _reply(self, status, value, headers={}):
        data = json.dumps(value).encode()
        fixed = {"content-type": "application/json", "content-length": str(len(data))}
        self.send_response(status)
        for name, text in (fixed | headers).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _answer(self, turn, request):
        dialect, path, body = request["dialect"], request["path"], request["body"]
        if isinstance(turn, Hang):
            self.owner._pause(self.connection, permit=True)
            raise Gone
        if isinstance(turn, Failure):
            body = dialect.failure(turn.status, turn.message, turn.code)
            return self._reply(turn.status, body, turn.headers)
        call = turn.call(dialect.name, dialect.tools(body)) if turn.call else None
        model = dialect.model(path, body)
        if dialect.streams(path, body):
            self._stream(turn, request, dialect.stream(turn, call, model))
        elif turn.cut_after is not None or turn.error_after is not None:
            raise Gone  # there is no half of an answer that comes in one piece
        else:
            self._reply(200, dialect.whole(turn, call, model))

    def _stream(self, turn, request, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        chunks = 0
        for is_chunk, event in events:
            if chunks == turn.cut_after:
                raise Gone  # without the closing chunk this is a broken connection
            if chunks == turn.error_after:
                self._send(request["dialect"].stream_error())
                break
            if is_chunk:
                if turn.gated:
                    self.owner._pause(self.connection, permit=True)
                elif chunks:
                    self.owner._pause(self.connection, turn.delay)
                # Counted first: whoever has read the chunk finds it counted.
                if not request["side"]:
                    self.owner._count()
                chunks += 1
            self._send(event)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, event):
        data = event.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class Refused:
    """A loopback address that refuses connections, and that nobody else can take meanwhile."""

    def __init__(self):
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # bound, but never listening
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._socket.close()
