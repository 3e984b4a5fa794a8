"""LangChain: ChatOpenAI on chat/completions and on responses, and ChatAnthropic."""

import anthropic
import openai
import pydantic
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from play import (
    ANSWER, HELLO, PIXEL, PROMPT,
    holds, in_pieces, is_told, play, play_model, raises, same, scenario, server,
)  # fmt: skip


class Answer(pydantic.BaseModel):
    """The answer."""

    answer: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return "sunny"


def chat(name="echo", key="dummy", model="echo", **how):
    return ChatOpenAI(base_url=f"{server(name)}/openai/v1", api_key=key, model=model, **how)


def responses(*words, **how):
    return chat(*words, use_responses_api=True, **how)


def messages(name="echo", key="dummy", model="echo", **how):
    return ChatAnthropic(base_url=f"{server(name)}/anthropic", api_key=key, model=model, max_tokens=1000, **how)


def calls(message):
    return [(call["name"], call["args"]) for call in message.tool_calls]


# The errors of the SDK below: the same names in both.
SURFACES = {"chat": (chat, openai), "responses": (responses, openai), "messages": (messages, anthropic)}

for surface, (model, errors) in SURFACES.items():

    def invoke(model=model):
        answer = model().invoke(PROMPT)
        usage = answer.usage_metadata
        same(answer.text, PROMPT, "text")
        same((usage["input_tokens"], usage["output_tokens"]), (5, 5), "usage")

    def stream(model=model):
        pieces, whole = [], None
        for chunk in model(stream_usage=True).stream(PROMPT):
            pieces += [chunk.text] if chunk.text else []
            whole = chunk if whole is None else whole + chunk
        in_pieces(pieces, PROMPT)
        usage = whole.usage_metadata
        same((usage["input_tokens"], usage["output_tokens"]), (5, 5), "usage")

    def conversation(model=model):
        call = {"name": "get_weather", "args": {"city": "Oslo"}, "id": "call_1"}
        history = [
            SystemMessage("Be brief."),
            HumanMessage("weather?"),
            AIMessage("let me look", tool_calls=[call]),
            ToolMessage("sunny", tool_call_id="call_1"),
            AIMessage("it is sunny"),
            HumanMessage("sure?"),
        ]
        said = model().invoke(history).text
        for words in ("weather?", "let me look", "get_weather", "Oslo", "sunny", "it is sunny", "sure?"):
            holds(words in said, f"`{words}` is not in: {said}")
        holds("Be brief." not in said, f"the system prompt is in the transcript: {said}")

    def by_schema(model=model):
        asking = model().with_structured_output(Answer, method="json_schema")
        same(asking.invoke('{"answer": 42}'), Answer(answer=42), "answer")

    def by_function(model=model):
        asking = model().with_structured_output(Answer, method="function_calling")
        same(asking.invoke('{"answer": 42}'), Answer(answer=42), "answer")

    def by_function_in_a_stream(model=model):
        asking = model().with_structured_output(Answer, method="function_calling")
        same(list(asking.stream('{"answer": 42}'))[-1], Answer(answer=42), "answer")

    def forced_tool(model=model):
        asking = model().bind_tools([get_weather], tool_choice="any")
        same(calls(asking.invoke('{"city": "Oslo"}')), [("get_weather", {"city": "Oslo"})], "calls")

    def optional_tool(model=model):
        answer = model().bind_tools([get_weather]).invoke(PROMPT)
        same((answer.text, calls(answer)), (PROMPT, []), "(text, calls)")

    def image_refused(model=model, errors=errors):
        picture = {"type": "image", "base64": PIXEL, "mime_type": "image/png"}
        asked = HumanMessage([{"type": "text", "text": "what is it?"}, picture])
        raises(errors.BadRequestError, lambda: model().invoke([asked]), 400, "claude")

    def wrong_key(model=model, errors=errors):
        raises(errors.AuthenticationError, lambda: model("locked", key="a-guessed-key").invoke(PROMPT), 401)

    def unknown_model(model=model, errors=errors):
        raises(errors.NotFoundError, lambda: model(model="nobody/x").invoke(PROMPT), 404)

    def quota(model=model, errors=errors):
        raises(errors.RateLimitError, lambda: model("quota", max_retries=0).invoke(PROMPT), 429)

    def overloaded(model=model, errors=errors):
        raises(errors.InternalServerError, lambda: model("overloaded", max_retries=0).invoke(PROMPT), 503)

    def login(model=model, errors=errors):
        raises(errors.BadRequestError, lambda: model("login").invoke(PROMPT), 400)

    def crash(model=model, errors=errors):
        raises(errors.InternalServerError, lambda: model("crash").invoke(PROMPT), 502)

    def broken_stream(model=model, errors=errors):
        raises(errors.APIError, lambda: list(model("breaking").stream(PROMPT)), says="exit status 9")

    def abort(model=model):
        stream = model("slow").stream("word " * 1000)
        next(chunk for chunk in stream if chunk.text)
        stream.close()

    for runs, function in [
        (1, invoke), (1, stream), (1, conversation), (1, by_schema), (1, by_function), (1, by_function_in_a_stream),
        (1, forced_tool), (1, optional_tool), (0, image_refused), (0, wrong_key), (0, unknown_model), (1, quota),
        (1, overloaded), (1, login), (1, crash), (1, broken_stream), (1, abort),
    ]:  # fmt: skip
        scenario(surface, runs=runs, requests=1)(function)

    # `json_mode` is told to the model in the prompt alone by ChatAnthropic, which has none.
    if model is not messages:

        def by_json_mode(model=model):
            asking = model().with_structured_output(Answer, method="json_mode")
            same(asking.invoke('{"answer": 42}'), Answer(answer=42), "answer")

        scenario(surface)(by_json_mode)


@scenario(runs=2, requests=2)
def conversation_of_claude():
    """The second request extends the first one, and continues its session."""
    model = messages("vendors", model="claude")
    play_model(HELLO)
    history = [SystemMessage("Be a herring."), HumanMessage("my colour is red")]
    history += [model.invoke(history), HumanMessage("which colour?")]
    play_model(["Red", "."])
    same(model.invoke(history).text, "Red.", "text")
    is_told("my colour is red", ANSWER, "which colour?")


play()
