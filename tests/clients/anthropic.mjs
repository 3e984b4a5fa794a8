// Node's `@anthropic-ai/sdk`, which sends its key as a bearer token: scenarios for messages, count_tokens and models.

import Anthropic from "@anthropic-ai/sdk";
import {
  all, contains, holds, inPieces, play, raises, same, scenario, server,
  CITY, LETTERS, PIXEL, PROMPT, SCHEMA,
} from "./play.mjs";

const client = async (name, { apiKey = "dummy", ...how } = {}) =>
  new Anthropic({ baseURL: `${await server(name)}/anthropic`, apiKey, ...how });

const user = (content) => [{ role: "user", content }];
const asked = (content = PROMPT, how = {}) => ({ model: "echo", max_tokens: 1000, messages: user(content), ...how });
const say = (client, content, how) => client.messages.create(asked(content, how));

const tools = [{ name: "get_weather", description: "The weather of a city.", input_schema: CITY }];
const forced = { type: "tool", name: "get_weather" };
const calls = ({ content, stop_reason }) => [content.map(({ type, name, input }) => [type, name, input]), stop_reason];
const called = [[["tool_use", "get_weather", { city: "Oslo" }]], "tool_use"];

scenario("message", async () => {
  const { content, stop_reason, usage } = await say(await client());
  same([content.map(({ text }) => text), stop_reason], [[PROMPT], "end_turn"]);
  same([usage.input_tokens, usage.output_tokens], [5, 5]);
});

scenario("stream", async () => {
  const events = await all(await say(await client(), PROMPT, { stream: true }));
  inPieces(events.map(({ delta }) => delta?.text).filter(Boolean), PROMPT);
  const { usage } = events.find(({ type }) => type === "message_delta");
  same([usage.input_tokens, usage.output_tokens], [5, 5]);
});

scenario("stream-helper", async () => {
  const pieces = [];
  const stream = (await client()).messages.stream(asked());
  stream.on("text", (text) => text && pieces.push(text));
  same(await stream.finalText(), PROMPT);
  inPieces(pieces, PROMPT);
});

scenario("stream-letters", async () => {
  const events = await all(await say(await client(), LETTERS, { stream: true }));
  inPieces(events.map(({ delta }) => delta?.text).filter(Boolean), LETTERS);
});

scenario("conversation", async () => {
  const messages = [
    ...user("weather?"),
    {
      role: "assistant",
      content: [
        { type: "text", text: "let me look" },
        { type: "tool_use", id: "toolu_1", name: "get_weather", input: { city: "Oslo" } },
      ],
    },
    ...user([{ type: "tool_result", tool_use_id: "toolu_1", content: "sunny" }]),
  ];
  const { content } = await say(await client(), "", { messages, system: "Be brief." });
  contains(content[0].text, "weather?", "let me look", "get_weather", "Oslo", "sunny");
});

scenario("structured", async () => {
  const output_config = { format: { type: "json_schema", schema: SCHEMA } };
  const answer = await (await client()).messages.parse(asked('{"answer": 42}', { output_config }));
  same(JSON.parse(answer.content[0].text), { answer: 42 });
});

scenario("forced-tool", async () => {
  same(calls(await say(await client(), '{"city": "Oslo"}', { tools, tool_choice: forced })), called);
});

scenario("forced-tool-stream", async () => {
  const stream = (await client()).messages.stream(asked('{"city": "Oslo"}', { tools, tool_choice: { type: "any" } }));
  same(calls(await stream.finalMessage()), called);
});

scenario("optional-tool", async () => {
  same((await say(await client(), PROMPT, { tools })).content[0].text, PROMPT);
});

scenario("image-refused", async () => {
  const source = { type: "base64", media_type: "image/png", data: PIXEL };
  const anthropic = await client();
  const ask = () => say(anthropic, [{ type: "image", source }]);
  await raises(Anthropic.BadRequestError, ask, { status: 400, says: "claude" });
}, { runs: 0, requests: 1 });

scenario("count-tokens", async () => {
  const counted = { model: "echo", messages: user("word ".repeat(1000)) };
  const { input_tokens } = await (await client()).messages.countTokens(counted);
  holds(input_tokens > 500 && input_tokens < 5000, `1000 words are ${input_tokens} tokens`);
}, { runs: 0, requests: 1 });

scenario("models", async () => {
  const anthropic = await client();
  const ids = (await all(anthropic.models.list())).map((model) => model.id);
  holds(ids.includes("echo"), `models: ${ids}`);
  same((await all(anthropic.models.list({ limit: 1 }))).map((model) => model.id), ids);
  same((await anthropic.models.retrieve("echo")).id, "echo");
  await raises(Anthropic.NotFoundError, () => anthropic.models.retrieve("nobody/x"), { status: 404, says: "nobody/x" });
}, { runs: 0 });

const fails = (what, runs, kind, name, how, status, says) =>
  scenario(what, async () => {
    const anthropic = await client(name, how);
    await raises(kind, () => say(anthropic), { status, says });
  }, { runs, requests: 1 });

const guessed = { apiKey: "a-guessed-key" };
const once = { maxRetries: 0 };

fails("wrong-key", 0, Anthropic.AuthenticationError, "locked", guessed, 401, "authentication_error");
fails("quota", 1, Anthropic.RateLimitError, "quota", once, 429, "quota");
fails("overloaded", 1, Anthropic.InternalServerError, "overloaded", once, 503, "overloaded_error");
// With the retries that the client has by default.
fails("login", 1, Anthropic.BadRequestError, "login", {}, 400, "login");
fails("crash", 1, Anthropic.InternalServerError, "crash", {}, 502);
fails("timeout", 1, Anthropic.InternalServerError, "hanging", {}, 504);

scenario("right-key", async () => {
  await say(await client("locked", { apiKey: "a-key-of-ours" }));
}, { requests: 1 });

scenario("unknown-model", async () => {
  const anthropic = await client();
  const ask = () => say(anthropic, PROMPT, { model: "nobody/x" });
  await raises(Anthropic.NotFoundError, ask, { status: 404, says: "nobody/x" });
}, { runs: 0, requests: 1 });

scenario("broken-stream", async () => {
  const stream = await say(await client("breaking"), PROMPT, { stream: true });
  await raises(Anthropic.APIError, () => all(stream), { says: "exit status 9" });
}, { requests: 1 });

scenario("abort", async () => {
  const stream = await say(await client("slow"), "word ".repeat(1000), { stream: true });
  for await (const { delta } of stream) {
    if (delta?.text) break;
  }
  stream.controller.abort();
}, { requests: 1 });

scenario("impatient", async () => {
  const anthropic = await client("slow", { timeout: 1000, maxRetries: 0 });
  await raises(Anthropic.APIConnectionTimeoutError, () => say(anthropic, "word ".repeat(1000)));
}, { requests: 1 });

await play();
