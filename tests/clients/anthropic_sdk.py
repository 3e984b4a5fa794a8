"""Python's `anthropic`: scenarios for messages, count_tokens and models."""

import json
from functools import partial

import anthropic
import pydantic
from play import (
    ANSWER, CONTINUES, HELLO, LETTERS, PIXEL, PROMPT, SCHEMA, VENDORS,
    heard, holds, in_pieces, play, play_model, raises, same, scenario, server,
)  # fmt: skip

TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
    {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
]
CALL = {"city": "Oslo"}
FORCED = {"type": "tool", "name": "get_weather"}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


class Answer(pydantic.BaseModel):
    answer: int


def client(name="echo", key="dummy", path="/anthropic", **how):
    return anthropic.Anthropic(base_url=server(name) + path, api_key=key, **how)


def user(text):
    return [{"role": "user", "content": text}]


def asked(text=PROMPT, model="echo", **how):
    return {"model": model, "max_tokens": 1000, "messages": user(text)} | how


def say(client, *words, **how):
    return client.messages.create(**asked(*words, **how))


def text_of(message):
    same([block.type for block in message.content], ["text"], "blocks")
    return message.content[0].text


def call_of(message):
    same([block.type for block in message.content], ["tool_use"], "blocks")
    same(message.stop_reason, "tool_use", "stop_reason")
    return message.content[0].name, message.content[0].input


@scenario()
def message():
    answer = say(client(), metadata={"user_id": "somebody"})
    same((text_of(answer), answer.stop_reason, answer.model), (PROMPT, "end_turn", "echo"), "answer")
    same((answer.usage.input_tokens, answer.usage.output_tokens), (5, 5), "usage")


@scenario()
def message_below_two_versions():
    same(text_of(say(client(path="/anthropic/v1"))), PROMPT, "text")


@scenario()
def stream():
    events = list(say(client(), stream=True))
    pieces = [event.delta.text for event in events if event.type == "content_block_delta" and event.delta.text]
    in_pieces(pieces, PROMPT)
    last = next(event for event in events if event.type == "message_delta")
    same((last.usage.input_tokens, last.usage.output_tokens), (5, 5), "usage")
    same((last.delta.stop_reason, events[-1].type), ("end_turn", "message_stop"), "end")


@scenario()
def stream_helper():
    with client().messages.stream(**asked()) as stream:
        pieces = [piece for piece in stream.text_stream if piece]
        whole = stream.get_final_message()
    in_pieces(pieces, PROMPT)
    same((text_of(whole), whole.usage.output_tokens), (PROMPT, 5), "final message")


@scenario()
def stream_letters():
    with client().messages.stream(**asked(LETTERS)) as stream:
        in_pieces([piece for piece in stream.text_stream if piece], LETTERS)


@scenario()
def conversation():
    messages = [
        *user([{"type": "text", "text": "weather?", "cache_control": {"type": "ephemeral"}}]),
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "let me look"},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": CALL},
            ],
        },
        *user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "sunny"}]}]),
    ]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    said = text_of(client().messages.create(model="echo", max_tokens=1000, messages=messages, system=system))
    for words in ("weather?", "let me look", "get_weather", "Oslo", "sunny"):
        holds(words in said, f"`{words}` is not in: {said}")
    holds("Be brief." not in said, f"the system prompt is in the transcript: {said}")


@scenario()
def structured():
    answer = client().messages.parse(**asked('{"answer": 42}'), output_format=Answer)
    same(answer.parsed_output, Answer(answer=42), "parsed")


@scenario()
def structured_stream():
    with client().messages.stream(**asked('{"answer": 42}'), output_format=Answer) as stream:
        same(stream.get_final_message().parsed_output, Answer(answer=42), "parsed")


@scenario(runs=2)
def structured_in_vain():
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    ask = partial(say, client(), "no JSON here", output_config=form)
    raises(anthropic.InternalServerError, ask, 502, "the answer is not what was asked for")


@scenario()
def forced_tool():
    same(call_of(say(client(), json.dumps(CALL), tools=TOOLS, tool_choice=FORCED)), ("get_weather", CALL), "call")


@scenario()
def required_tool():
    call = json.dumps({"call": {"name": "get_weather", "arguments": CALL}})
    same(call_of(say(client(), call, tools=TOOLS, tool_choice={"type": "any"})), ("get_weather", CALL), "call")


@scenario()
def forced_tool_stream():
    with client().messages.stream(**asked(json.dumps(CALL)), tools=TOOLS, tool_choice=FORCED) as stream:
        same(call_of(stream.get_final_message()), ("get_weather", CALL), "call")


@scenario()
def optional_tool():
    answer = say(client(), tools=TOOLS, tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    same((text_of(answer), answer.stop_reason), (PROMPT, "end_turn"), "answer")


@scenario()
def beta():
    answer = client().beta.messages.create(**asked(), betas=["context-1m-2025-08-07"])
    same(text_of(answer), PROMPT, "text")


@scenario(runs=0, requests=1)
def image_refused():
    parts = [{"type": "text", "text": "what is it?"}, PICTURE]
    raises(anthropic.BadRequestError, partial(say, client(), parts), 400, "claude")


@scenario(runs=0, requests=1)
def count_tokens():
    count = client().messages.count_tokens(model="echo", messages=user("word " * 1000), system="Be brief.")
    holds(500 < count.input_tokens < 5000, f"1000 words are {count.input_tokens} tokens")


@scenario(runs=0)
def models():
    ids = [model.id for model in client().models.list()]
    holds("echo" in ids, f"models: {ids}")
    same([model.id for model in client().models.list(limit=1)], ids, "page by page")
    same(client().models.retrieve("echo").id, "echo", "model")


@scenario(runs=0, requests=1)
def models_unknown():
    raises(anthropic.NotFoundError, lambda: client().models.retrieve("nobody/x"), 404, "nobody/x")


@scenario()
def request_id():
    holds(say(client())._request_id, "there is no request id")


# ---------------------------------------------------------------------------------------- failures


@scenario(runs=0, requests=1)
def wrong_key():
    ask = lambda: say(client("locked", key="a-guessed-key"))
    raises(anthropic.AuthenticationError, ask, 401, "authentication_error")


@scenario(requests=1)
def right_key():
    say(client("locked", key="a-key-of-ours"))


@scenario(requests=1)
def right_key_as_a_token():
    say(anthropic.Anthropic(base_url=server("locked") + "/anthropic", auth_token="a-key-of-ours"))


@scenario(runs=0, requests=1)
def unknown_model():
    raises(anthropic.NotFoundError, lambda: say(client(), model="nobody/x"), 404, "nobody/x")


@scenario(runs=0, requests=1)
def bad_request():
    raises(anthropic.BadRequestError, lambda: say(client(), messages=[]), 400, "messages")


@scenario(requests=1)
def quota():
    error = raises(anthropic.RateLimitError, lambda: say(client("quota", max_retries=0)), 429, "rate_limit_error")
    holds(int(error.response.headers["retry-after"]) > 0, "retry-after")


@scenario(requests=1)
def quota_in_a_stream():
    raises(anthropic.RateLimitError, lambda: say(client("quota", max_retries=0), stream=True), 429)


@scenario(requests=1)
def overloaded():
    ask = lambda: say(client("overloaded", max_retries=0))
    raises(anthropic.InternalServerError, ask, 503, "overloaded_error")


# With the retries that the client has by default.


@scenario(requests=1)
def login():
    raises(anthropic.BadRequestError, lambda: say(client("login")), 400, "login")


@scenario(requests=1)
def crash():
    raises(anthropic.InternalServerError, lambda: say(client("crash")), 502, "api_error")


@scenario(requests=1)
def timeout():
    raises(anthropic.InternalServerError, lambda: say(client("hanging")), 504, "timeout_error")


@scenario(requests=1)
def broken_stream():
    """The failure comes after a part of the answer: nobody may take that for the whole."""
    ask = lambda: list(say(client("breaking"), stream=True))
    raises(anthropic.APIStatusError, ask, says="exit status 9")


@scenario(requests=1)
def abort():
    with client("slow").messages.stream(**asked("word " * 1000)) as stream:
        next(piece for piece in stream.text_stream if piece)


@scenario(requests=1)
def impatient():
    ask = lambda: say(client("slow", timeout=1, max_retries=0), "word " * 1000)
    raises(anthropic.APITimeoutError, ask)


# ------------------------------------------------------------------ the vendors' CLIs behind the server

for vendor in VENDORS:

    def message_of(vendor=vendor):
        play_model(HELLO)
        answer = say(client("vendors"), model=vendor)
        same((text_of(answer), answer.model), (ANSWER, vendor), "(text, model)")
        holds(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, f"usage: {answer.usage}")

    def stream_of(vendor=vendor):
        play_model(HELLO)
        with client("vendors").messages.stream(**asked(model=vendor)) as stream:
            in_pieces([piece for piece in stream.text_stream if piece], ANSWER)
            usage = stream.get_final_message().usage
        holds(usage.input_tokens > 0 and usage.output_tokens > 0, f"usage: {usage}")

    def structured_of(vendor=vendor):
        play_model({"json": {"answer": 42}, "by": vendor})
        answer = client("vendors").messages.parse(**asked(model=vendor), output_format=Answer)
        same(answer.parsed_output, Answer(answer=42), "parsed")

    def forced_tool_of(vendor=vendor):
        play_model({"json": CALL, "by": vendor})
        with client("vendors").messages.stream(**asked(model=vendor), tools=TOOLS, tool_choice=FORCED) as stream:
            same(call_of(stream.get_final_message()), ("get_weather", CALL), "call")

    def conversation_of(vendor=vendor):
        """The second request extends the first one, and continues its session: only what is new is sent."""
        ask = partial(client("vendors").messages.create, model=vendor, max_tokens=1000, system="Be a herring.")
        messages = user("my colour is red")
        play_model(HELLO)
        ask(messages=messages)
        holds("Be a herring." in heard()["system"], f"system: {heard()['system']}")
        messages += [{"role": "assistant", "content": ANSWER}, *user("which colour?")]
        play_model(["Red", "."])
        same(text_of(ask(messages=messages)), "Red.", "text")
        CONTINUES[vendor]("my colour is red", ANSWER, "which colour?")

    def abort_of(vendor=vendor):
        """One piece of the answer is told, and there will never be another."""
        play_model({"gated": HELLO, "let": 1})
        with client("vendors").messages.stream(**asked(model=vendor)) as stream:
            next(piece for piece in stream.text_stream if piece)

    for runs, function in [
        (1, message_of), (1, stream_of), (1, structured_of), (1, forced_tool_of), (2, conversation_of), (1, abort_of),
    ]:  # fmt: skip
        scenario(vendor, runs=runs, requests=runs)(function)


@scenario()
def image_of_claude():
    """Alone: whatever there is to say about it."""
    play_model(HELLO)
    same(text_of(say(client("vendors"), [PICTURE], model="claude")), ANSWER, "text")
    holds(PIXEL in heard()["body"], "the model did not get the picture")


play()
