// Node's `openai`: scenarios for chat/completions and for responses.

import OpenAI from "openai";
import {
  all, contains, holds, inPieces, play, raises, same, scenario, server,
  CITY, LETTERS, PIXEL, PROMPT, SCHEMA,
} from "./play.mjs";

const client = async (name, { apiKey = "dummy", ...how } = {}) =>
  new OpenAI({ baseURL: `${await server(name)}/openai/v1`, apiKey, ...how });

const user = (content) => [{ role: "user", content }];

const chat = (client, content = PROMPT, how = {}) =>
  client.chat.completions.create({ model: "echo", messages: user(content), ...how });
const respond = (client, input = PROMPT, how = {}) => client.responses.create({ model: "echo", input, ...how });

const weather = { name: "get_weather", description: "The weather of a city.", parameters: CITY };
const tools = [{ type: "function", function: weather }];
const forced = { type: "function", function: { name: "get_weather" } };
const flatTools = [{ type: "function", strict: false, ...weather }];
const flatForced = { type: "function", name: "get_weather" };
const format = { type: "json_schema", json_schema: { name: "A", strict: true, schema: SCHEMA } };
const flatFormat = { format: { type: "json_schema", name: "A", strict: true, schema: SCHEMA } };

scenario("chat-json", async () => {
  const { choices, usage, model } = await chat(await client());
  same([choices[0].message.content, choices[0].finish_reason, model], [PROMPT, "stop", "echo"]);
  same([usage.prompt_tokens, usage.completion_tokens], [5, 5]);
});

scenario("chat-stream", async () => {
  const stream = await chat(await client(), PROMPT, { stream: true, stream_options: { include_usage: true } });
  const chunks = await all(stream);
  inPieces(chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean), PROMPT);
  same(chunks.at(-1).usage.completion_tokens, 5);
});

scenario("chat-stream-letters", async () => {
  const chunks = await all(await chat(await client(), LETTERS, { stream: true }));
  inPieces(chunks.map((chunk) => chunk.choices[0]?.delta.content).filter(Boolean), LETTERS);
});

scenario("chat-stream-helper", async () => {
  const pieces = [];
  const stream = (await client()).chat.completions.stream({ model: "echo", messages: user(PROMPT) });
  stream.on("content", (delta) => delta && pieces.push(delta));
  same(await stream.finalContent(), PROMPT);
  inPieces(pieces, PROMPT);
});

scenario("chat-half-a-letter", async () => {
  // What JSON.stringify makes of an emoji that was cut.
  const { choices } = await chat(await client(), "cut \ud83d here");
  same(choices[0].message.content, "cut \ufffd here");
});

scenario("chat-conversation", async () => {
  const call = { name: "get_weather", arguments: '{"city":"Oslo"}' };
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "weather?" },
    { role: "assistant", content: null, tool_calls: [{ id: "call_1", type: "function", function: call }] },
    { role: "tool", tool_call_id: "call_1", content: "sunny" },
    { role: "assistant", content: "it is sunny" },
    { role: "user", content: "sure?" },
  ];
  const { choices } = await (await client()).chat.completions.create({ model: "echo", messages });
  contains(choices[0].message.content, "weather?", "get_weather", "Oslo", "sunny", "it is sunny", "sure?");
});

scenario("chat-structured", async () => {
  const asked = { model: "echo", messages: user('{"answer": 42}'), response_format: format };
  const answer = await (await client()).chat.completions.parse(asked);
  same(JSON.parse(answer.choices[0].message.content), { answer: 42 });
});

scenario("chat-forced-tool", async () => {
  const { choices } = await chat(await client(), '{"city": "Oslo"}', { tools, tool_choice: forced });
  const call = choices[0].message.tool_calls[0].function;
  same([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Oslo" }]);
  same(choices[0].finish_reason, "tool_calls");
});

scenario("chat-forced-tool-stream", async () => {
  const asked = { model: "echo", messages: user('{"city": "Oslo"}'), tools, tool_choice: forced };
  const stream = (await client()).chat.completions.stream(asked);
  const { choices } = await stream.finalChatCompletion();
  same(JSON.parse(choices[0].message.tool_calls[0].function.arguments), { city: "Oslo" });
});

scenario("chat-optional-tool", async () => {
  const { choices } = await chat(await client(), PROMPT, { tools });
  same(choices[0].message.content, PROMPT);
});

const picture = `data:image/png;base64,${PIXEL}`;
scenario("chat-image-refused", async () => {
  const parts = [{ type: "text", text: "what?" }, { type: "image_url", image_url: { url: picture } }];
  const openai = await client();
  await raises(OpenAI.BadRequestError, () => chat(openai, parts), { status: 400, says: "claude" });
}, { runs: 0, requests: 1 });

scenario("models", async () => {
  const openai = await client();
  const ids = (await all(await openai.models.list())).map((model) => model.id);
  holds(ids.includes("echo"), `models: ${ids}`);
  same((await openai.models.retrieve("echo")).id, "echo");
  const ask = () => openai.models.retrieve("nobody/has it");
  await raises(OpenAI.NotFoundError, ask, { status: 404, says: "nobody/has it" });
}, { runs: 0, requests: 3 });

scenario("responses-json", async () => {
  const { output_text, status, usage } = await respond(await client());
  same([output_text, status, usage.input_tokens, usage.output_tokens], [PROMPT, "completed", 5, 5]);
});

scenario("responses-stream", async () => {
  const events = await all(await respond(await client(), PROMPT, { stream: true }));
  const deltas = events.filter(({ type }) => type === "response.output_text.delta");
  inPieces(deltas.map(({ delta }) => delta).filter(Boolean), PROMPT);
  same([events.at(-1).type, events.at(-1).response.usage.output_tokens], ["response.completed", 5]);
});

scenario("responses-stream-helper", async () => {
  const stream = (await client()).responses.stream({ model: "echo", input: PROMPT });
  same((await stream.finalResponse()).output_text, PROMPT);
});

scenario("responses-structured", async () => {
  const answer = await (await client()).responses.parse({ model: "echo", input: '{"answer": 42}', text: flatFormat });
  same(JSON.parse(answer.output_text), { answer: 42 });
});

scenario("responses-forced-tool", async () => {
  const { output } = await respond(await client(), '{"city": "Oslo"}', { tools: flatTools, tool_choice: flatForced });
  same([output[0].type, output[0].name], ["function_call", "get_weather"]);
  same(JSON.parse(output[0].arguments), { city: "Oslo" });
});

scenario("responses-forced-tool-stream", async () => {
  const asked = { model: "echo", input: '{"city": "Oslo"}', tools: flatTools, tool_choice: flatForced };
  const { output } = await (await client()).responses.stream(asked).finalResponse();
  same(JSON.parse(output[0].arguments), { city: "Oslo" });
});

for (const [surface, ask] of Object.entries({ chat, responses: respond })) {
  const fails = (what, runs, kind, name, how, expected) =>
    scenario(`${what}-${surface}`, async () => {
      const openai = await client(name, how);
      await raises(kind, () => ask(openai), expected);
    }, { runs, requests: 1 });

  const guessed = { apiKey: "a-guessed-key" };
  fails("wrong-key", 0, OpenAI.AuthenticationError, "locked", guessed, { status: 401, says: "Incorrect API key" });
  fails("quota", 1, OpenAI.RateLimitError, "quota", { maxRetries: 0 }, { status: 429, says: "quota" });
  fails("overloaded", 1, OpenAI.InternalServerError, "overloaded", { maxRetries: 0 }, { status: 503 });
  // With the retries that the client has by default.
  fails("login", 1, OpenAI.BadRequestError, "login", {}, { status: 400, says: "login" });
  fails("crash", 1, OpenAI.InternalServerError, "crash", {}, { status: 502 });
  fails("timeout", 1, OpenAI.InternalServerError, "hanging", {}, { status: 504 });

  scenario(`unknown-model-${surface}`, async () => {
    const openai = await client();
    const asking = () => ask(openai, PROMPT, { model: "nobody/x" });
    await raises(OpenAI.NotFoundError, asking, { status: 404, says: "nobody/x" });
  }, { runs: 0, requests: 1 });

  scenario(`broken-stream-${surface}`, async () => {
    const stream = await ask(await client("breaking"), PROMPT, { stream: true });
    await raises(OpenAI.APIError, () => all(stream), { says: "exit status 9" });
  }, { requests: 1 });

  scenario(`abort-${surface}`, async () => {
    const stream = await ask(await client("slow"), "word ".repeat(1000), { stream: true });
    for await (const event of stream) {
      if (JSON.stringify(event).includes("word")) break;
    }
    stream.controller.abort();
  }, { requests: 1 });

  scenario(`impatient-${surface}`, async () => {
    const openai = await client("slow", { timeout: 1000, maxRetries: 0 });
    await raises(OpenAI.APIConnectionTimeoutError, () => ask(openai, "word ".repeat(1000)));
  }, { requests: 1 });
}

await play();
