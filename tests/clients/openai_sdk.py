"""Python's `openai`, the newest and the last but two: scenarios for chat/completions and for responses."""

import json
from functools import partial

import openai
import pydantic
from play import (
    ANSWER, CONTINUES, HELLO, LETTERS, PIXEL, PROMPT, SCHEMA, VENDORS,
    heard, holds, in_pieces, play, play_model, raises, same, scenario, server,
)  # fmt: skip

HAS_RESPONSES = hasattr(openai.OpenAI, "responses")
IS_NEWEST = HAS_RESPONSES

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}},
]
CALL = '{"city":"Oslo"}'
FORCED = {"type": "function", "function": {"name": "get_weather"}}
FLAT_TOOLS = [{"type": "function", "strict": False} | tool["function"] for tool in TOOLS]
FLAT_FORCED = {"type": "function", "name": "get_weather"}


class Answer(pydantic.BaseModel):
    answer: int


def client(name="echo", key="dummy", **how):
    return openai.OpenAI(base_url=f"{server(name)}/openai/v1", api_key=key, **how)


def parsing(client):
    """Where this version keeps its helpers."""
    completions = client.chat.completions
    return completions if hasattr(completions, "parse") else client.beta.chat.completions


def user(text):
    return [{"role": "user", "content": text}]


def chat(client, text=PROMPT, model="echo", **how):
    return client.chat.completions.create(model=model, messages=user(text), **how)


def respond(client, text=PROMPT, model="echo", **how):
    return client.responses.create(model=model, input=text, **how)


def chat_pieces(stream):
    """The pieces of text of a stream of chunks, and its last finish_reason."""
    pieces, reason = [], None
    for chunk in stream:
        for choice in chunk.choices:
            pieces += [choice.delta.content] if choice.delta.content else []
            reason = choice.finish_reason or reason
    return pieces, reason


def respond_pieces(stream):
    """The pieces of text of a stream of events, and the response at its end."""
    pieces, response = [], None
    for event in stream:
        if event.type == "response.output_text.delta" and event.delta:
            pieces.append(event.delta)
        response = getattr(event, "response", response)
    return pieces, response


# -------------------------------------------------------------------------------------------- chat


@scenario()
def chat_json():
    answer = chat(client(), temperature=0.5, max_tokens=100, user="somebody")
    choice, usage = answer.choices[0], answer.usage
    same((choice.message.content, choice.message.role), (PROMPT, "assistant"), "message")
    same((choice.finish_reason, answer.model), ("stop", "echo"), "(finish_reason, model)")
    same((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (5, 5, 10), "usage")


@scenario()
def chat_stream():
    pieces, reason = chat_pieces(chat(client(), stream=True))
    in_pieces(pieces, PROMPT)
    same(reason, "stop", "finish_reason")


@scenario()
def chat_stream_usage():
    chunks = list(chat(client(), stream=True, stream_options={"include_usage": True}))
    usage = chunks[-1].usage
    same((usage.prompt_tokens, usage.completion_tokens), (5, 5), "usage")
    same([chunk for chunk in chunks[:-1] if chunk.usage], [], "chunks with usage before the last")


@scenario()
def chat_stream_helper():
    with parsing(client()).stream(model="echo", messages=user(PROMPT)) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        whole = stream.get_final_completion()
    in_pieces(pieces, PROMPT)
    same(whole.choices[0].message.content, PROMPT, "final completion")


@scenario()
def chat_letters():
    same(chat(client(), LETTERS).choices[0].message.content, LETTERS, "content")


@scenario()
def chat_stream_letters():
    pieces, _ = chat_pieces(chat(client(), LETTERS, stream=True))
    in_pieces(pieces, LETTERS)


@scenario()
def chat_large():
    """More than an argument of a program can be."""
    text = "x" * 300_000
    same(chat(client(), text).choices[0].message.content == text, True, "300,000 letters come back")


@scenario()
def chat_conversation():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "my colour is red"},
        {"role": "assistant", "content": "noted: red"},
        {"role": "user", "content": "which colour?"},
    ]
    said = client().chat.completions.create(model="echo", messages=messages).choices[0].message.content
    for message in messages[1:]:
        holds(message["content"] in said, f"`{message['content']}` is not in: {said}")
    holds("Be brief." not in said, f"the system prompt is in the transcript: {said}")


@scenario()
def chat_parts():
    """All that a history can have in it."""
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": CALL}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "name": "bob", "content": [{"type": "text", "text": "weather?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    said = client().chat.completions.create(model="echo", messages=messages).choices[0].message.content
    for words in ("weather?", "get_weather", CALL, "sunny"):
        holds(words in said, f"`{words}` is not in: {said}")


@scenario()
def chat_structured():
    answer = parsing(client()).parse(model="echo", messages=user('{"answer": 42}'), response_format=Answer)
    same(answer.choices[0].message.parsed, Answer(answer=42), "parsed")


@scenario()
def chat_structured_stream():
    asked = {"model": "echo", "messages": user('{"answer": 42}'), "response_format": Answer}
    with parsing(client()).stream(**asked) as stream:
        same(stream.get_final_completion().choices[0].message.parsed, Answer(answer=42), "parsed")


@scenario()
def chat_json_object():
    answer = chat(client(), '{"answer": [1]}', response_format={"type": "json_object"})
    same(json.loads(answer.choices[0].message.content), {"answer": [1]}, "content")


@scenario(runs=2)
def chat_structured_in_vain():
    """What does not follow the schema is asked for once more, and then no answer."""
    form = {"type": "json_schema", "json_schema": {"name": "A", "strict": True, "schema": SCHEMA}}
    ask = partial(chat, client(), "no JSON here", response_format=form)
    raises(openai.InternalServerError, ask, 502, "the answer is not what was asked for")


@scenario()
def chat_forced_tool():
    choice = chat(client(), CALL, tools=TOOLS, tool_choice=FORCED).choices[0]
    call = choice.message.tool_calls[0]
    same((call.function.name, json.loads(call.function.arguments)), ("get_weather", json.loads(CALL)), "call")
    same((choice.finish_reason, choice.message.content), ("tool_calls", None), "(finish_reason, content)")


@scenario()
def chat_required_tool():
    call = '{"call": {"name": "get_weather", "arguments": {"city": "Oslo"}}}'
    choice = chat(client(), call, tools=TOOLS, tool_choice="required").choices[0]
    called = choice.message.tool_calls[0].function
    same((called.name, json.loads(called.arguments)), ("get_weather", json.loads(CALL)), "call")


@scenario()
def chat_forced_tool_stream():
    name, arguments, reason = "", "", None
    for chunk in chat(client(), CALL, tools=TOOLS, tool_choice=FORCED, stream=True):
        for choice in chunk.choices:
            for call in choice.delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
            reason = choice.finish_reason or reason
    same((name, json.loads(arguments), reason), ("get_weather", json.loads(CALL), "tool_calls"), "call")


@scenario()
def chat_optional_tool():
    choice = chat(client(), tools=TOOLS, tool_choice="auto", parallel_tool_calls=False).choices[0]
    same((choice.message.content, choice.message.tool_calls), (PROMPT, None), "(content, calls)")


@scenario(runs=0, requests=1)
def chat_image_refused():
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
    ]
    raises(openai.BadRequestError, partial(chat, client(), parts), 400, "claude")


@scenario()
def completions():
    answer = client().completions.create(model="echo", prompt=PROMPT)
    same(answer.choices[0].text, PROMPT, "text")


@scenario()
def completions_stream():
    stream = client().completions.create(model="echo", prompt=PROMPT, stream=True)
    in_pieces([choice.text for chunk in stream for choice in chunk.choices if choice.text], PROMPT)


@scenario()
def raw_response():
    raw = client().chat.completions.with_raw_response.create(model="echo", messages=user(PROMPT), seed=1)
    holds(raw.headers["x-request-id"], "there is no x-request-id")
    same(raw.headers["x-clinvk-backend"], "echo", "x-clinvk-backend")
    holds("seed" in raw.headers["x-clinvk-ignored"], f"x-clinvk-ignored: {raw.headers['x-clinvk-ignored']}")


# ------------------------------------------------------------------------------------------ models


@scenario(runs=0)
def models():
    ids = [model.id for model in client().models.list()]
    holds("echo" in ids, f"models: {ids}")
    same(client().models.retrieve("echo").id, "echo", "model")


@scenario(runs=0, requests=1)
def models_unknown():
    raises(openai.NotFoundError, lambda: client().models.retrieve("nobody/has it"), 404, "nobody/has it")


# --------------------------------------------------------------------------------------- responses


@scenario(when=HAS_RESPONSES)
def responses_json():
    answer = respond(client(), instructions="Be brief.")
    same((answer.output_text, answer.status, answer.model), (PROMPT, "completed", "echo"), "answer")
    same((answer.usage.input_tokens, answer.usage.output_tokens), (5, 5), "usage")
    same(answer.usage.input_tokens_details.cached_tokens, 0, "cached tokens")


@scenario(when=HAS_RESPONSES)
def responses_stream():
    pieces, response = respond_pieces(respond(client(), stream=True))
    in_pieces(pieces, PROMPT)
    same((response.status, response.output_text), ("completed", PROMPT), "(status, text)")
    same((response.usage.input_tokens, response.usage.output_tokens), (5, 5), "usage")


@scenario(when=HAS_RESPONSES)
def responses_stream_helper():
    with client().responses.stream(model="echo", input=PROMPT) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        whole = stream.get_final_response()
    in_pieces(pieces, PROMPT)
    same(whole.output_text, PROMPT, "final response")


@scenario(when=HAS_RESPONSES)
def responses_stream_letters():
    pieces, _ = respond_pieces(respond(client(), LETTERS, stream=True))
    in_pieces(pieces, LETTERS)


@scenario(when=HAS_RESPONSES)
def responses_conversation():
    items = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": CALL},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
            "content": [{"type": "output_text", "text": "it is sunny", "annotations": []}],
        },
        {"role": "user", "content": "sure?"},
    ]  # fmt: skip
    said = client().responses.create(model="echo", input=items).output_text
    for words in ("weather?", "get_weather", CALL, "sunny", "it is sunny", "sure?"):
        holds(words in said, f"`{words}` is not in: {said}")


@scenario(when=HAS_RESPONSES, runs=2)
def responses_previous():
    first = respond(client())
    second = respond(client(), "six", previous_response_id=first.id)
    holds("six" in second.output_text, f"answer: {second.output_text}")
    same(second.previous_response_id, first.id, "previous_response_id")


@scenario(when=HAS_RESPONSES, runs=0, requests=1)
def responses_previous_unknown():
    ask = partial(respond, client(), previous_response_id="resp_nobody")
    raises(openai.APIStatusError, ask, says="resp_nobody")


@scenario(when=HAS_RESPONSES)
def responses_structured():
    answer = client().responses.parse(model="echo", input='{"answer": 42}', text_format=Answer)
    same(answer.output_parsed, Answer(answer=42), "parsed")


@scenario(when=HAS_RESPONSES)
def responses_structured_stream():
    with client().responses.stream(model="echo", input='{"answer": 42}', text_format=Answer) as stream:
        same(stream.get_final_response().output_parsed, Answer(answer=42), "parsed")


@scenario(when=HAS_RESPONSES)
def responses_forced_tool():
    call = respond(client(), CALL, tools=FLAT_TOOLS, tool_choice=FLAT_FORCED).output[0]
    same((call.type, call.name, json.loads(call.arguments)), ("function_call", "get_weather", json.loads(CALL)), "call")


@scenario(when=HAS_RESPONSES)
def responses_forced_tool_stream():
    with client().responses.stream(
        model="echo", input=CALL, tools=FLAT_TOOLS, tool_choice=FLAT_FORCED
    ) as stream:
        call = stream.get_final_response().output[0]
    same((call.name, json.loads(call.arguments)), ("get_weather", json.loads(CALL)), "call")


@scenario(when=HAS_RESPONSES)
def responses_optional_tool():
    tools = [*FLAT_TOOLS, {"type": "web_search"}]
    same(respond(client(), tools=tools).output_text, PROMPT, "text")


@scenario(when=HAS_RESPONSES, runs=0, requests=1)
def responses_image_refused():
    parts = [
        {"type": "input_text", "text": "what is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    raises(openai.BadRequestError, partial(respond, client(), user(parts)), 400, "claude")


# ------------------------------------------------------------------------- failures, on both of them

SURFACES = {"chat": chat} | ({"responses": respond} if HAS_RESPONSES else {})

for surface, ask in SURFACES.items():

    def wrong_key(ask=ask):
        error = raises(openai.AuthenticationError, lambda: ask(client("locked", key="a-guessed-key")), 401)
        holds("Incorrect API key provided" in error.message, f"message: {error.message}")

    def right_key(ask=ask):
        ask(client("locked", key="a-key-of-ours"))

    def unknown_model(ask=ask):
        raises(openai.NotFoundError, lambda: ask(client(), model="nobody/x"), 404, "nobody/x")

    def quota(ask=ask):
        error = raises(openai.RateLimitError, lambda: ask(client("quota", max_retries=0)), 429, "quota")
        holds(int(error.response.headers["retry-after"]) > 0, "retry-after")

    def overloaded(ask=ask):
        error = raises(openai.InternalServerError, lambda: ask(client("overloaded", max_retries=0)), 503)
        holds(int(error.response.headers["retry-after"]) > 0, "retry-after")

    def quota_in_a_stream(ask=ask):
        """Nothing has been said yet, so that the status can still tell."""
        raises(openai.RateLimitError, lambda: ask(client("quota", max_retries=0), stream=True), 429)

    # With the retries that the client has by default.
    def login(ask=ask):
        raises(openai.BadRequestError, lambda: ask(client("login")), 400, "login")

    def crash(ask=ask):
        raises(openai.InternalServerError, lambda: ask(client("crash")), 502)

    def timeout(ask=ask):
        raises(openai.InternalServerError, lambda: ask(client("hanging")), 504)

    def broken_stream(ask=ask):
        """The failure comes after a part of the answer: nobody may take that for the whole."""
        events = []
        error = raises(openai.APIError, lambda: events.extend(ask(client("breaking"), stream=True)))
        holds("exit status 9" in str(error), f"message: {error}")

    def abort(ask=ask):
        with ask(client("slow"), "word " * 1000, stream=True) as stream:
            for event in stream:
                if "word" in str(event):
                    break

    def impatient(ask=ask):
        raises(openai.APITimeoutError, lambda: ask(client("slow", timeout=1, max_retries=0), "word " * 1000))

    for runs, function in [
        (0, wrong_key), (1, right_key), (0, unknown_model), (1, quota), (1, overloaded), (1, quota_in_a_stream),
        (1, login), (1, crash), (1, timeout), (1, broken_stream), (1, abort), (1, impatient),
    ]:  # fmt: skip
        scenario(surface, runs=runs, requests=1)(function)


@scenario(runs=0, requests=1)
def bad_request():
    error = raises(openai.BadRequestError, lambda: chat(client(), n=2), 400)
    same(error.body["param"], "n", "param")


@scenario(runs=0, requests=1)
def no_messages():
    ask = lambda: client().chat.completions.create(model="echo", messages=[])
    raises(openai.BadRequestError, ask, 400, "messages")


@scenario(runs=0, requests=1)
def unknown_path():
    raises(openai.NotFoundError, lambda: client().embeddings.create(model="echo", input="x"), 404, "embeddings")


# ------------------------------------------------------------------ the vendors' CLIs behind the server

for vendor in VENDORS if IS_NEWEST else ():

    def chat_of(vendor=vendor):
        play_model(HELLO)
        answer = chat(client("vendors"), model=vendor)
        same((answer.choices[0].message.content, answer.model), (ANSWER, vendor), "(content, model)")
        holds(answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0, f"usage: {answer.usage}")

    def chat_stream_of(vendor=vendor):
        play_model(HELLO)
        pieces, reason = chat_pieces(chat(client("vendors"), model=vendor, stream=True))
        in_pieces(pieces, ANSWER)
        same(reason, "stop", "finish_reason")

    def chat_structured_of(vendor=vendor):
        play_model({"json": {"answer": 42}, "by": vendor})
        asked = {"model": vendor, "messages": user(PROMPT), "response_format": Answer}
        same(parsing(client("vendors")).parse(**asked).choices[0].message.parsed, Answer(answer=42), "parsed")

    def chat_forced_tool_of(vendor=vendor):
        play_model({"json": {"city": "Oslo"}, "by": vendor})
        choice = chat(client("vendors"), model=vendor, tools=TOOLS, tool_choice=FORCED).choices[0]
        same(json.loads(choice.message.tool_calls[0].function.arguments), {"city": "Oslo"}, "arguments")

    def chat_conversation_of(vendor=vendor):
        """The second request extends the first one, and continues its session: only what is new is sent."""
        messages = [{"role": "system", "content": "Be a herring."}, *user("my colour is red")]
        say = partial(client("vendors").chat.completions.create, model=vendor)
        play_model(HELLO)
        say(messages=messages)
        holds("Be a herring." in heard()["system"], f"system: {heard()['system']}")
        messages += [{"role": "assistant", "content": ANSWER}, *user("which colour?")]
        play_model(["Red", "."])
        same(say(messages=messages).choices[0].message.content, "Red.", "content")
        holds("Be a herring." in heard()["system"], f"system: {heard()['system']}")
        CONTINUES[vendor]("my colour is red", ANSWER, "which colour?")

    def responses_of(vendor=vendor):
        play_model(HELLO)
        answer = respond(client("vendors"), model=vendor)
        same((answer.output_text, answer.model), (ANSWER, vendor), "(text, model)")
        holds(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, f"usage: {answer.usage}")

    def responses_stream_of(vendor=vendor):
        play_model(HELLO)
        pieces, response = respond_pieces(respond(client("vendors"), model=vendor, stream=True))
        in_pieces(pieces, ANSWER)
        same(response.status, "completed", "status")

    def responses_structured_of(vendor=vendor):
        play_model({"json": {"answer": 42}, "by": vendor})
        answer = client("vendors").responses.parse(model=vendor, input=PROMPT, text_format=Answer)
        same(answer.output_parsed, Answer(answer=42), "parsed")

    def responses_forced_tool_of(vendor=vendor):
        play_model({"json": {"city": "Oslo"}, "by": vendor})
        asked = {"tools": FLAT_TOOLS, "tool_choice": FLAT_FORCED, "stream": True}
        _, response = respond_pieces(respond(client("vendors"), model=vendor, **asked))
        same(json.loads(response.output[0].arguments), {"city": "Oslo"}, "arguments")

    def responses_previous_of(vendor=vendor):
        play_model(HELLO)
        first = respond(client("vendors"), "my colour is red", model=vendor)
        play_model(["Red", "."])
        again = {"model": vendor, "previous_response_id": first.id}
        same(respond(client("vendors"), "which colour?", **again).output_text, "Red.", "text")
        CONTINUES[vendor]("my colour is red", ANSWER, "which colour?")

    def abort_of(vendor=vendor):
        """One piece of the answer is told, and there will never be another."""
        play_model({"gated": HELLO, "let": 1})
        with chat(client("vendors"), model=vendor, stream=True) as stream:
            for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    break

    def model_error_of(vendor=vendor):
        """A wrong key of the vendor's own: it fails for good, and once."""
        play_model({"fails": 401})
        raises(openai.BadRequestError, lambda: chat(client("vendors"), model=vendor), 400)

    for runs, function in [
        (1, chat_of), (1, chat_stream_of), (1, chat_structured_of), (1, chat_forced_tool_of), (2, chat_conversation_of),
        (1, responses_of), (1, responses_stream_of), (1, responses_structured_of), (1, responses_forced_tool_of),
        (2, responses_previous_of), (1, abort_of), (1, model_error_of),
    ]:  # fmt: skip
        scenario(vendor, runs=runs, requests=runs)(function)


@scenario(when=IS_NEWEST)
def chat_image_of_claude():
    play_model(HELLO)
    parts = [
        {"type": "text", "text": "what is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    same(chat(client("vendors"), parts, model="claude").choices[0].message.content, ANSWER, "content")
    holds(PIXEL in heard()["body"], "the model did not get the picture")


@scenario(when=IS_NEWEST, runs=0)
def models_of_vendors():
    ids = [model.id for model in client("vendors").models.list()]
    same([vendor for vendor in VENDORS if vendor not in ids], [], f"backends that are not in {ids}")


play()
