"""curl: what the bare protocol looks like, and what only a hand-written request does."""

import json
import subprocess

from play import LETTERS, PROMPT, holds, play, same, scenario, server, wait_for_run

CHAT = {"model": "echo", "messages": [{"role": "user", "content": PROMPT}]}
MESSAGES = CHAT | {"max_tokens": 1000}
RESPONSES = {"model": "echo", "input": PROMPT}
SURFACES = {
    "chat": ("/openai/v1/chat/completions", CHAT, '"content":"{}"'),
    "responses": ("/openai/v1/responses", RESPONSES, '"delta":"{}"'),
    "messages": ("/anthropic/v1/messages", MESSAGES, '"text":"{}"'),
}


def curl(path, *words, body=None, name="echo"):
    """(status, headers, body), the names of headers in small letters."""
    words = ["curl", "-sS", "--max-time", "60", "-i", *words, server(name) + path]
    given = {"input": json.dumps(body)} if body is not None else {}
    words[1:1] = ["--data-binary", "@-"] if given else []
    ran = subprocess.run(words, capture_output=True, text=True, **given)
    same((ran.returncode, ran.stderr), (0, ""), f"(status, stderr) of {words}")
    head, _, text = ran.stdout.partition("\n\n")
    while head.partition(" ")[2].startswith("100"):
        head, _, text = text.partition("\n\n")
    lines = head.splitlines()
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, text


def frames(text):
    """(event or "", data) of each frame."""
    for frame in text.split("\n\n")[:-1]:
        lines = [line for line in frame.splitlines() if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields:
            yield fields.get("event", ""), fields["data"]


for surface, (path, body, piece) in SURFACES.items():

    def answer(path=path, body=body):
        status, headers, text = curl(path, body=body)
        same((status, headers["content-type"].partition(";")[0]), (200, "application/json"), "(status, type)")
        holds(PROMPT in text, f"answer: {text}")
        holds(headers["x-request-id"] == headers["request-id"] != "", f"headers: {headers}")

    def stream(path=path, body=body, piece=piece, surface=surface):
        status, headers, text = curl(path, "-N", body=body | {"stream": True})
        same((status, headers["content-type"].partition(";")[0]), (200, "text/event-stream"), "(status, type)")
        all_ = list(frames(text))
        same(sum(piece.format("two ") in data for _, data in all_), 1, f"pieces `two ` in {text}")
        if surface == "chat":
            same({event for event, _ in all_}, {""}, "names of events")
            same(all_[-1][1], "[DONE]", "the last frame")
        else:
            same([event for event, data in all_], [json.loads(data)["type"] for _, data in all_], "names of events")
        holds(text.endswith("\n\n"), "no empty line at the end")

    def letters(path=path, body=body):
        """None of them may break a line for those who know other ends of lines."""
        body = json.loads(json.dumps(body | {"stream": True}).replace(PROMPT, "LETTERS"))
        asked = json.loads(json.dumps(body).replace('"LETTERS"', json.dumps(LETTERS)))
        _, _, text = curl(path, body=asked)
        same([letter for letter in "\u2028\u2029\x85\0" if letter in text], [], "raw letters in the stream")

    def slow(path=path, body=body):
        """Gone in the middle of an answer."""
        body = json.loads(json.dumps(body | {"stream": True}).replace(PROMPT, "word " * 1000))
        words = ["curl", "-sN", "--data-binary", "@-", server("slow") + path]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(json.dumps(body).encode())
        process.stdin.close()
        while b"word" not in process.stdout.readline():
            pass
        process.kill()
        process.wait()
        process.stdout.close()

    def slow_json(path=path, body=body):
        """Gone before anything of the answer is there."""
        body = json.loads(json.dumps(body).replace(PROMPT, "word " * 1000))
        words = ["curl", "-s", "--data-binary", "@-", server("slow") + path]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process.stdin.write(json.dumps(body).encode())
        process.stdin.close()
        wait_for_run("slow")
        process.kill()
        process.wait()

    def no_json(path=path):
        status, headers, text = curl(path, "-d", "{nonsense")
        same((status, headers["content-type"].partition(";")[0]), (400, "application/json"), "(status, type)")
        holds(json.loads(text)["error"]["message"], f"body: {text}")

    def get(path=path):
        status, headers, text = curl(path)
        same((status, headers["allow"]), (405, "post"), "(status, allow)")
        holds(json.loads(text)["error"]["message"], f"body: {text}")

    def foreign_page(path=path, body=body):
        status, _, text = curl(path, "-H", "Origin: http://elsewhere.example", body=body)
        same(status, 403, "status")
        holds("http://elsewhere.example" in json.loads(text)["error"]["message"], f"body: {text}")

    def large(path=path, body=body):
        """curl waits for `100 Continue` before it sends as much as that."""
        words = "x" * 2_000_000
        body = json.loads(json.dumps(body).replace(PROMPT, words))
        status, _, text = curl(path, "-H", "Content-Type: application/json", body=body)
        same((status, words in text), (200, True), "(status, it is all there)")

    for runs, function in [
        (1, answer), (1, stream), (1, letters), (1, slow), (1, slow_json), (0, no_json), (0, get), (0, foreign_page),
        (1, large),
    ]:  # fmt: skip
        scenario(surface, runs=runs)(function)


@scenario(requests=1)
def oldest_http():
    status, headers, text = curl("/openai/v1/chat/completions", "--http1.0", body=CHAT | {"stream": True})
    same((status, "transfer-encoding" in headers, "[DONE]" in text), (200, False, True), "(status, chunked, end)")


@scenario(requests=1)
def chunked_upload():
    status, _, text = curl("/openai/v1/chat/completions", "-H", "Transfer-Encoding: chunked", body=CHAT)
    same((status, PROMPT in text), (200, True), "(status, answer)")


@scenario(requests=1)
def newer_http():
    """The upgrade that it offers is left aside."""
    status, _, text = curl("/openai/v1/chat/completions", "--http2", body=CHAT)
    same((status, PROMPT in text), (200, True), "(status, answer)")


@scenario(requests=1)
def compressed():
    _, headers, text = curl("/openai/v1/chat/completions", "--compressed", body=CHAT | {"stream": True})
    same(("content-encoding" in headers, "[DONE]" in text), (False, True), "(encoded, end)")


@scenario(requests=1)
def many_versions():
    status, _, text = curl("/anthropic/v1/v1/v1/messages?beta=true", body=MESSAGES)
    same((status, PROMPT in text), (200, True), "(status, answer)")


@scenario(requests=1)
def no_max_tokens():
    status, _, text = curl("/anthropic/v1/messages", body=CHAT)
    same((status, PROMPT in text), (200, True), "(status, answer)")


@scenario(runs=0)
def unknown_paths():
    kinds = {"/openai/v1/nothing": "invalid_request_error", "/anthropic/v1/nothing": "not_found_error"}
    for path, kind in kinds.items():
        status, headers, text = curl(path, body={})
        same((status, json.loads(text)["error"]["type"]), (404, kind), path)
        holds(headers["x-request-id"], "there is no request id")


@scenario(runs=0, requests=0)
def head():
    status, _, text = curl("/anthropic", "--head")
    same((status, text), (200, ""), "(status, body)")


@scenario(runs=0, requests=3)
def keys():
    given = {
        "X-Api-Key: a-key-of-ours": 200,
        "Authorization: Bearer a-key-of-ours": 200,
        "X-Api-Key: a-guessed-key": 401,
    }
    for header, expected in given.items():
        status, _, _ = curl("/openai/v1/models", "-H", header, name="locked")
        same(status, expected, f"status with {header}")


@scenario(requests=1)
def model_of_ours():
    """What names no backend goes to the default one, and the answer has the name that was asked for."""
    status, headers, text = curl("/openai/v1/chat/completions", body=CHAT | {"model": "my-own-model"})
    same((status, json.loads(text)["model"]), (200, "my-own-model"), "(status, model)")
    same(headers["x-clinvk-backend"], "echo", "x-clinvk-backend")


play()
