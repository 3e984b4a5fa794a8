"""What the clients of soak.py do over HTTP, again and again, in an order that their seed decides."""

import base64
import contextlib
import http.client
import json
import random
import socket
import struct
import time
import traceback

from scene import clip, holds, same
from soak_answers import events_of, streamed, whole

# An answer that takes longer will never come.
PATIENCE = 120

SSE, NDJSON = "text/event-stream", "application/x-ndjson"

# How a run of each backend may fail: the prompt may tell a kept program to die, and soak.py kills some.
FAILURES = {"crash": {"crash"}, "hang": {"timeout"}, "kept": {"crash"}, "agent": {"crash"}}
# What a kept program is told with a prompt.
ENDS = ("die-first", "die-midway", "die-after", "leave-behind")
# These say the prompt and nothing else.
REPEAT = ("echo", "kept")

SURFACES = {
    "chat": "/openai/v1/chat/completions",
    "responses": "/openai/v1/responses",
    "messages": "/anthropic/v1/messages",
}


class Busy(Exception):
    """The server has no room for a run now, and has said so."""


class HttpClient:
    """One of them, which has all that is done (ACTIONS) in its class."""

    def __init__(self, soak, number, actions):
        self.soak, self.number, self.said = soak, number, 0
        self.random, self.actions = random.Random(f"{soak.seed}/{number}"), actions

    def run(self):
        while self.soak.goes_on():
            (action,) = self.random.choices(list(self.actions), list(self.actions.values()))
            try:
                action(self)
                self.soak.count(action.__name__)
            except Busy:
                self.soak.count("busy")
            except Exception:
                self.soak.problem(f"client {self.number}, {action.__name__}: {traceback.format_exc(limit=-4)}")

    # -- the ways to ask

    def words(self, more=""):
        """A prompt that no other client has, nor this one before."""
        self.said += 1
        return f"turn {self.soak.phase} {self.number}-{self.said} {more}".strip()

    @contextlib.contextmanager
    def begun(self, method, path, body=None, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        connection = http.client.HTTPConnection(*self.soak.place, timeout=PATIENCE)
        with contextlib.closing(connection):
            self.soak.count("requests")
            connection.request(method, path, json.dumps(body) if body else None, named)
            with connection.getresponse() as answer:
                if answer.status in (429, 503):
                    text = answer.read().decode()
                    holds("at once" in text or "busy" in text or "room" in text, f"{answer.status} {path}: {text}")
                    raise Busy
                yield answer

    def asked(self, method, path, body=None, status=200, **headers):
        with self.begun(method, path, body, **headers) as answer:
            text = answer.read().decode()
        holds(answer.status == status, f"{method} {path}: {answer.status} {clip(text)}")
        return json.loads(text) if text.startswith("{") else text

    def failed(self, backend, kind, of=""):
        holds(kind in FAILURES.get(backend, ()), f"a run of {backend} ended with {kind}: {clip(str(of))}")
        self.soak.count(f"{backend}: {kind}")

    def turn(self, backend, prompt, accept=None, path="/api/v1/prompt", **options):
        """One turn; gives its session, or None when it has failed as it may."""
        body = {"backend": backend, "prompt": prompt} | options
        with self.begun("POST", path, body, Accept=accept) as answer:
            if answer.status != 200:
                told = json.load(answer)
                return self.failed(backend, told["error"]["kind"], told)
            if accept is None:
                told = json.load(answer)
            else:
                events = list(events_of(answer))
                same(events[-1]["type"], "done", "the last event")
                told = events[-1]["content"]
                heard = "".join(event["content"]["text"] for event in events if event["type"] == "message")
                if told["kind"] is None and told["content"] is not None:
                    same(heard, told["content"], "the pieces of an answer")
        return self.over(backend, prompt, told)

    def over(self, backend, prompt, told):
        if told["kind"] is not None:
            return self.failed(backend, told["kind"], told)
        holds(backend not in ("crash", "hang"), f"{backend} has answered: {told}")
        if backend in REPEAT:
            same(told["content"], prompt, "the answer")
        if told["session_id"]:
            self.soak.acknowledge(told["session_id"], prompt, told["content"])
        return told["session_id"]

    def raw(self, request):
        """A connection on which this was said."""
        connection = socket.create_connection(self.soak.place, PATIENCE)
        self.soak.count("requests")
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return connection

    def post(self, path, body, *fields):
        data = json.dumps(body).encode()
        head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(data)}", *fields]
        return ("\r\n".join(head) + "\r\n\r\n").encode() + data

    # -- what they do

    def prompt(self):
        backend = self.random.choice(["echo", "echo", "kept", "kept", "slow", "fork", "agent"])
        more = self.random.choice(["", "", "slowly", *ENDS]) if backend == "kept" else ""
        self.turn(backend, self.words(more), self.random.choice([None, SSE, NDJSON]))

    def crash(self):
        self.turn("crash", self.words(), self.random.choice([None, SSE]))

    def hang(self):
        self.turn("hang", self.words(), self.random.choice([None, NDJSON]), timeout_secs=1)

    def picture(self):
        data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + self.random.randbytes(self.random.randrange(50_000))).decode()
        self.turn("agent", self.words(), images=[{"media_type": "image/png", "data": data}])

    def conversation(self):
        """A session whose turns come over all surfaces."""
        session = self.turn("echo", self.words())
        for _ in range(self.random.randrange(1, 5)):
            surface = self.random.choice(["native", *SURFACES])
            if surface == "native":
                self.turn("echo", self.words(), path=f"/api/v1/sessions/{session}/resume", wait_secs=60)
            else:
                prompt = self.words()
                said, _ = self.dialect(surface, "echo", prompt, x_clinvk_session=session, x_clinvk_wait="60")
                self.soak.acknowledge(session, prompt, said)

    def compatible(self):
        """A conversation of a compatible client: it sends all of it, or the name of the last answer."""
        surface, backend = self.random.choice(list(SURFACES)), self.random.choice(["echo", "kept", "slow", "crash"])
        said, name = self.dialect(surface, backend, self.words())
        if said is None or backend not in REPEAT:
            return
        if surface == "responses" and name:
            # It may be forgotten by now.
            self.dialect(surface, backend, self.words(), repeats=False, fine=(400,), previous_response_id=name)
        elif surface != "responses":
            more = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": said}]}
            self.dialect(surface, backend, self.words(), repeats=False, **more)

    def dialect(self, surface, backend, prompt, repeats=True, fine=(), **more):
        """One turn in words of another vendor's; gives what was said, None after a failure that may be, and the answer's name."""
        stream = self.random.random() < 0.5
        headers = {name: more.pop(name) for name in list(more) if name.startswith("x_")}
        messages = [*more.pop("messages", []), {"role": "user", "content": prompt}]
        body = {"model": backend, "stream": stream, "max_tokens": 100, "messages": messages}
        if surface == "responses":
            body = {"model": backend, "stream": stream, "input": prompt}
        with self.begun("POST", SURFACES[surface], body | more, **headers) as answer:
            text = answer.read().decode()
        if answer.status in fine:
            return None, None
        if answer.status == 200:
            said, name = (streamed if stream else whole)(surface, text)
        if answer.status != 200 or said is None:
            holds(answer.status in (200, 502) and "crash" in FAILURES.get(backend, ()), f"{answer.status} {clip(text)}")
            self.soak.count(f"{backend}: crash")
            return None, None
        if repeats and backend in REPEAT:
            same(said, prompt, f"the answer of {surface}")
        return said, name

    def leaves(self):
        """A client that goes away in the middle of an answer, or before it."""
        backend = self.random.choice(["slow", "slow", "hang", "flood", "fork", "kept", "agent"])
        surface = self.random.choice(["native", "native", *SURFACES])
        prompt = {"kept": self.words("slowly"), "agent": "slow"}.get(backend, self.words())
        if surface == "native":
            request = self.post("/api/v1/prompt", {"backend": backend, "prompt": prompt}, f"Accept: {SSE}")
        else:
            body = {"model": backend, "stream": self.random.random() < 0.7, "max_tokens": 9}
            body |= {"input": prompt} if surface == "responses" else {"messages": [{"role": "user", "content": prompt}]}
            request = self.post(SURFACES[surface], body)
        self.gone(self.raw(request))

    def gone(self, connection):
        """Read a little or nothing, and leave by an end or by a reset."""
        with connection:
            connection.settimeout(self.random.uniform(0.01, 1))
            with contextlib.suppress(OSError):
                for _ in range(self.random.randrange(4)):
                    connection.recv(1000)
            if self.random.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def reads_slowly(self):
        body = {"backend": "flood", "prompt": self.words(), "ephemeral": True}
        with self.raw(self.post("/api/v1/prompt", body, f"Accept: {NDJSON}", "Connection: close")) as connection:
            until, last = time.monotonic() + self.random.uniform(0, 3), b""
            while time.monotonic() < until:
                time.sleep(0.02)
                last = last[-20_000:] + connection.recv(4096)
            if self.random.random() < 0.5:
                while piece := connection.recv(1 << 16):
                    last = last[-20_000:] + piece
                holds(b'"type":"done"' in last or b" 503 " in last, f"the end of a flood: {clip(last.decode())}")

    def detached(self):
        backend, then = self.random.choice(["echo", "kept", "slow", "hang", "fork"]), self.random.random()
        prompt = self.words()
        body = {"backend": backend, "prompt": prompt, "detach": True, "timeout_secs": 5}
        run = self.asked("POST", "/api/v1/prompt", body, status=202)["run_id"]
        path = f"/api/v1/runs/{run}"
        if then < 0.2:
            return
        if then < 0.5 or backend == "hang":
            time.sleep(self.random.uniform(0, 0.5))
            self.asked("DELETE", path)
            return
        with self.begun("GET", f"{path}/events", Accept=self.random.choice([SSE, NDJSON])) as answer:
            events = list(events_of(answer))
        same(events[-1]["type"], "done", f"the last event of {path}")
        self.over(backend, prompt, events[-1]["content"])

    def again(self):
        """The same request under the same name: there is one run of it in ten minutes."""
        body = {"backend": "slow", "prompt": "asked again"}
        told = self.asked("POST", "/api/v1/prompt", body, Idempotency_Key=f"key-{self.random.randrange(3)}")
        same(told["kind"], None, "kind")

    def batch(self):
        route, leave = self.random.choice(["parallel", "compare", "chain"]), self.random.random() < 0.3
        prompts = [self.words() for _ in range(4)]
        backends = ["echo", "kept", "crash", "slow"]
        runs = [{"backend": name, "prompt": prompt} for name, prompt in zip(backends, prompts, strict=True)]
        body = {
            "parallel": {"tasks": [run | {"ephemeral": False} for run in runs]},
            "compare": {"prompt": prompts[0], "backends": backends},
            "chain": {"steps": runs},
        }[route]
        if leave:
            return self.gone(self.raw(self.post(f"/api/v1/{route}", body, f"Accept: {NDJSON}")))
        results = self.asked("POST", f"/api/v1/{route}", body)["results"]
        for backend, prompt, told in zip(backends, prompts, results, strict=True):
            holds(told["kind"] or told["status"] == "completed", f"{route}: {told}")
            self.over(backend, prompts[0] if route == "compare" else prompt, told)

    def is_no_http(self):
        size = self.random.randrange(1, 2000)
        connection = self.raw(
            self.random.choice(
                [
                    self.random.randbytes(size),
                    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * size + b"\r\n",
                    b"POST /api/v1/prompt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n" + b"{" * size,
                    b"POST /api/v1/prompt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + b"[" * size,
                    b"GET /health HTTP/1.1\r\nHost: local",
                    b"GET /health HTTP/1.1\r\nHost: example.org\r\n\r\n",
                    b"\r\n" * size,
                ]
            )
        )
        self.gone(connection)

    def makes_no_sense(self):
        wrong = self.random.choice(
            [{"promt": "x"}, {"prompt": 1}, {"prompt": "x", "backend": "none"}, {"prompt": "x", "session_id": "0" * 32}]
        )
        for path in ("/api/v1/prompt", "/api/v1/chain", *SURFACES.values()):
            with self.begun("POST", path, wrong) as answer:
                holds(answer.status in (400, 404), f"{path} of {wrong}: {answer.status} {answer.read()}")

    def looks(self):
        for path in self.random.sample(
            ["/health", "/ready", "/live", "/metrics", "/docs", "/openapi.json", "/openai/v1/models", "/anthropic/v1/models"]
            + ["/api/v1/pool", "/api/v1/runs", "/api/v1/backends", "/api/v1/backends/kept"],
            4,
        ):
            holds(self.asked("GET", path), f"{path} says nothing")

    def manages(self):
        """Sessions are listed, shown, changed, forked and deleted."""
        prompt = self.words()
        session = self.turn("echo", prompt)
        path = f"/api/v1/sessions/{session}"
        listed = self.asked("GET", f"/api/v1/sessions?limit=20&offset={self.random.randrange(20)}")
        same(listed["problems"], [], "files that cannot be read")
        same(self.asked("PATCH", path, {"title": prompt, "tags": ["soak"]})["title"], prompt, "title")
        fork = self.asked("POST", f"{path}/fork")["id"]
        turns = self.asked("GET", f"{path}/turns")["turns"]
        same([turn["answer"] for turn in turns], [prompt], "turns")
        self.soak.forget(session)
        self.asked("DELETE", path)
        self.asked("GET", path, status=404)
        self.asked("DELETE", f"/api/v1/sessions/{fork}")

    def stays(self):
        """Connections that are kept open and say nothing, after a request or before it."""
        connections = [self.raw(self.random.choice([b"", b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"])) for _ in range(5)]
        time.sleep(self.random.uniform(0, 2))
        for connection in connections:
            self.gone(connection)


# What is done, and how often.
ACTIONS = {
    HttpClient.prompt: 20, HttpClient.conversation: 12, HttpClient.compatible: 14, HttpClient.leaves: 12, HttpClient.detached: 8,
    HttpClient.crash: 4, HttpClient.hang: 2, HttpClient.picture: 3, HttpClient.reads_slowly: 2, HttpClient.again: 1,
    HttpClient.batch: 3, HttpClient.is_no_http: 5, HttpClient.makes_no_sense: 3, HttpClient.looks: 5, HttpClient.manages: 5,
    HttpClient.stays: 2,
}  # fmt: skip
