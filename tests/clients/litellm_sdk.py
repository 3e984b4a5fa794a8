"""litellm: its `openai/` and `hosted_vllm/` providers, its responses, and its `anthropic/` provider."""

import json

import litellm
import openai
import pydantic
from litellm.llms.custom_httpx.http_handler import HTTPHandler
from play import LETTERS, PROMPT, holds, in_pieces, play, raises, same, scenario, server

litellm.telemetry = False
litellm.suppress_debug_info = True

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
FORCED = {"type": "function", "function": {"name": "get_weather"}}


class Answer(pydantic.BaseModel):
    answer: int


def user(text):
    return [{"role": "user", "content": text}]


def asking(provider, path):
    """A function that asks through this provider."""

    def ask(text=PROMPT, name="echo", key="dummy", model="echo", **how):
        asked = {"messages": user(text)} | how
        return litellm.completion(model=f"{provider}/{model}", api_base=server(name) + path, api_key=key, **asked)

    return ask


PROVIDERS = {
    "openai": asking("openai", "/openai/v1"),
    "vllm": asking("hosted_vllm", "/openai/v1"),
    "anthropic": asking("anthropic", "/anthropic"),
}

for provider, ask in PROVIDERS.items():

    def chat(ask=ask):
        answer = ask()
        same(answer.choices[0].message.content, PROMPT, "content")
        same((answer.usage.prompt_tokens, answer.usage.completion_tokens), (5, 5), "usage")

    def stream(ask=ask):
        pieces = [chunk.choices[0].delta.content for chunk in ask(stream=True)]
        in_pieces([piece for piece in pieces if piece], PROMPT)

    def stream_letters(ask=ask):
        pieces = [chunk.choices[0].delta.content for chunk in ask(LETTERS, stream=True)]
        in_pieces([piece for piece in pieces if piece], LETTERS)

    def conversation(ask=ask):
        history = [
            {"role": "system", "content": "Be brief."},
            *user("my colour is red"),
            {"role": "assistant", "content": "noted"},
            *user("which colour?"),
        ]
        said = ask(messages=history).choices[0].message.content
        for words in ("my colour is red", "noted", "which colour?"):
            holds(words in said, f"`{words}` is not in: {said}")

    def structured(ask=ask):
        schema = {"name": "A", "strict": True, "schema": Answer.model_json_schema()}
        form = {"type": "json_schema", "json_schema": schema}
        answer = ask('{"answer": 42}', response_format=form).choices[0].message.content
        same(json.loads(answer), {"answer": 42}, "content")

    def forced_tool(ask=ask):
        call = ask('{"city": "Oslo"}', tools=TOOLS, tool_choice=FORCED).choices[0].message.tool_calls[0].function
        same((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Oslo"}), "call")

    def optional_tool(ask=ask):
        same(ask(tools=TOOLS).choices[0].message.content, PROMPT, "content")

    def wrong_key(ask=ask):
        raises(litellm.AuthenticationError, lambda: ask(name="locked", key="a-guessed-key"), 401)

    def unknown_model(ask=ask):
        raises(litellm.NotFoundError, lambda: ask(model="nobody/x"), 404)

    def quota(ask=ask):
        raises(litellm.RateLimitError, lambda: ask(name="quota", max_retries=0), 429)

    def login(ask=ask):
        raises(litellm.BadRequestError, lambda: ask(name="login"), 400)

    def broken_stream(ask=ask):
        raises(Exception, lambda: list(ask(name="breaking", stream=True)), says="exit status 9")

    def abort(ask=ask, provider=provider):
        """It has no way to close a stream, but the client below it has."""
        url = f"{server('slow')}/openai/v1"
        client = openai.OpenAI(base_url=url, api_key="dummy") if provider == "openai" else HTTPHandler()
        stream = ask("word " * 1000, name="slow", stream=True, client=client)
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
        client.close()

    for runs, function in [
        (1, chat), (1, stream), (1, stream_letters), (1, conversation), (1, structured), (1, forced_tool),
        (1, optional_tool), (0, wrong_key), (0, unknown_model), (1, quota), (1, login), (1, broken_stream), (1, abort),
    ]:  # fmt: skip
        scenario(provider, runs=runs, requests=1)(function)


@scenario(requests=1)
def overloaded_openai():
    ask = lambda: PROVIDERS["openai"](name="overloaded", max_retries=0)
    raises(litellm.ServiceUnavailableError, ask, 503)


@scenario(requests=1)
def timeout_openai():
    raises(litellm.Timeout, lambda: PROVIDERS["openai"](name="hanging"))


@scenario(requests=1)
def responses():
    asked = {"api_base": f"{server()}/openai/v1", "api_key": "dummy", "input": PROMPT}
    answer = litellm.responses(model="openai/echo", **asked)
    same(answer.output[0].content[0].text, PROMPT, "text")
    same((answer.usage.input_tokens, answer.usage.output_tokens), (5, 5), "usage")


@scenario(requests=1)
def responses_stream():
    asked = {"api_base": f"{server()}/openai/v1", "api_key": "dummy", "input": PROMPT, "stream": True}
    events = litellm.responses(model="openai/echo", **asked)
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    same("".join(pieces), PROMPT, "the stream")


play()
