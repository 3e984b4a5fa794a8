// Vercel's AI SDK with its four ways to ask us: openai(), which is responses, openai.chat(), openai-compatible and
// anthropic.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateObject, generateText, jsonSchema, streamObject, streamText, tool } from "ai";
import {
  all, contains, holds, inPieces, play, raises, same, scenario, server,
  CITY, LETTERS, PIXEL, PROMPT, SCHEMA,
} from "./play.mjs";

const openai = async (name, apiKey) => createOpenAI({ baseURL: `${await server(name)}/openai/v1`, apiKey });
const providers = {
  responses: async (name, apiKey, model) => (await openai(name, apiKey))(model),
  chat: async (name, apiKey, model) => (await openai(name, apiKey)).chat(model),
  compatible: async (name, apiKey, model) =>
    createOpenAICompatible({
      name: "clinvk",
      baseURL: `${await server(name)}/openai/v1`,
      apiKey,
      supportsStructuredOutputs: true,
      includeUsage: true,
    })(model),
  anthropic: async (name, apiKey, model) =>
    createAnthropic({ baseURL: `${await server(name)}/anthropic/v1`, apiKey })(model),
};

const tools = { get_weather: tool({ description: "The weather of a city.", inputSchema: jsonSchema(CITY) }) };
const called = (calls) => calls.map(({ toolName, input }) => [toolName, input]);
const silent = { onError: () => {} };

for (const [provider, make] of Object.entries(providers)) {
  const model = (name, { apiKey = "dummy", id = "echo" } = {}) => make(name, apiKey, id);
  const add = (name, play, how) => scenario(`${name}-${provider}`, play, how);

  add("text", async () => {
    const { text, usage, finishReason } = await generateText({ model: await model(), prompt: PROMPT });
    same([text, usage.inputTokens, usage.outputTokens, finishReason], [PROMPT, 5, 5, "stop"]);
  });

  add("stream", async () => {
    const stream = streamText({ model: await model(), prompt: PROMPT });
    inPieces((await all(stream.textStream)).filter(Boolean), PROMPT);
    const usage = await stream.usage;
    same([usage.inputTokens, usage.outputTokens, await stream.finishReason], [5, 5, "stop"]);
  });

  add("stream-letters", async () => {
    const stream = streamText({ model: await model(), prompt: LETTERS });
    inPieces((await all(stream.textStream)).filter(Boolean), LETTERS);
  });

  add("conversation", async () => {
    const call = { toolCallId: "call_1", toolName: "get_weather" };
    const messages = [
      { role: "user", content: "weather?" },
      {
        role: "assistant",
        content: [{ type: "text", text: "let me look" }, { type: "tool-call", ...call, input: { city: "Oslo" } }],
      },
      { role: "tool", content: [{ type: "tool-result", ...call, output: { type: "text", value: "sunny" } }] },
      { role: "assistant", content: "it is sunny" },
      { role: "user", content: "sure?" },
    ];
    const { text } = await generateText({ model: await model(), system: "Be brief.", messages, tools });
    contains(text, "weather?", "let me look", "get_weather", "Oslo", "sunny", "it is sunny", "sure?");
    holds(!text.includes("Be brief."), text);
  });

  add("object", async () => {
    const asked = { model: await model(), schema: jsonSchema(SCHEMA), prompt: '{"answer": 42}' };
    same((await generateObject(asked)).object, { answer: 42 });
  });

  add("object-stream", async () => {
    const asked = { model: await model(), schema: jsonSchema(SCHEMA), prompt: '{"answer": 42}', ...silent };
    const stream = streamObject(asked);
    await all(stream.partialObjectStream);
    same(await stream.object, { answer: 42 });
  });

  add("forced-tool", async () => {
    const asked = { model: await model(), tools, toolChoice: "required", prompt: '{"city": "Oslo"}' };
    same(called((await generateText(asked)).toolCalls), [["get_weather", { city: "Oslo" }]]);
  });

  add("forced-tool-stream", async () => {
    const toolChoice = { type: "tool", toolName: "get_weather" };
    const stream = streamText({ model: await model(), tools, toolChoice, prompt: '{"city": "Oslo"}' });
    same(called(await stream.toolCalls), [["get_weather", { city: "Oslo" }]]);
  });

  add("optional-tool", async () => {
    const { text, toolCalls } = await generateText({ model: await model(), tools, prompt: PROMPT });
    same([text, toolCalls], [PROMPT, []]);
  });

  const image = { type: "image", image: Buffer.from(PIXEL, "base64"), mediaType: "image/png" };
  const messages = [{ role: "user", content: [{ type: "text", text: "what is it?" }, image] }];
  const fails = (what, runs, name, how, asked, expected) =>
    add(what, async () => {
      const asking = { model: await model(name, how), prompt: PROMPT, ...asked };
      if (asked.messages) delete asking.prompt;
      await raises(APICallError, () => generateText(asking), expected);
    }, { runs, requests: 1 });

  fails("image-refused", 0, "echo", {}, { messages }, { status: 400, says: "claude" });
  fails("wrong-key", 0, "locked", { apiKey: "a-guessed-key" }, {}, { status: 401 });
  fails("unknown-model", 0, "echo", { id: "nobody/x" }, {}, { status: 404, says: "nobody/x" });
  fails("login", 1, "login", {}, {}, { status: 400, says: "login" });
  // It does not know x-should-retry, and would try these again.
  fails("quota", 1, "quota", {}, { maxRetries: 0 }, { status: 429, says: "quota" });
  fails("overloaded", 1, "overloaded", {}, { maxRetries: 0 }, { status: 503 });
  fails("crash", 1, "crash", {}, { maxRetries: 0 }, { status: 502 });
  fails("timeout", 1, "hanging", {}, { maxRetries: 0 }, { status: 504 });

  add("broken-stream", async () => {
    const errors = [];
    const onError = ({ error }) => errors.push(error);
    const stream = streamText({ model: await model("breaking"), prompt: PROMPT, onError });
    await all(stream.fullStream);
    holds(JSON.stringify(errors.map((error) => [String(error), error])).includes("exit status 9"), `errors: ${errors}`);
  }, { requests: 1 });

  add("abort", async () => {
    const stop = new AbortController();
    const asked = { model: await model("slow"), prompt: "word ".repeat(1000), abortSignal: stop.signal, ...silent };
    for await (const piece of streamText(asked).textStream) {
      if (piece) stop.abort();
    }
  }, { requests: 1 });
}

await play();
