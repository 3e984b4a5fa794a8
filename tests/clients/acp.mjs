// Node's `@agentclientprotocol/sdk`, as an editor uses it: scenarios for `clinvk acp`, a process of its own for each.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";
import { agent, contains, holds, inPieces, play, playModel, same, scenario, ANSWER, HELLO, PROMPT } from "./play.mjs";

const { initialize, session: on } = acp.methods.agent;
const { requestPermission, update: updated } = acp.methods.client.session;

// What the person at the editor says to each question.
const NEVER_ASKED = () => {
  throw new Error("a question that was not to come");
};

/** One process of `clinvk acp` from its start to its end, in which `talk` is done. */
async function editor(name, talk, { decide = NEVER_ASKED } = {}) {
  const { command: [program, ...words], env, folder } = await agent(name);
  const child = spawn(program, words, { env, cwd: folder, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const questions = [];
  const told = [];
  const app = acp
    .client({ name: "an editor" })
    .onRequest(requestPermission, ({ params }) => {
      questions.push(params);
      const kind = decide(params);
      const { optionId } = params.options.find((option) => option.kind === kind);
      return { outcome: { outcome: "selected", optionId } };
    })
    .onNotification(updated, ({ params }) => void told.push(params));
  const stream = acp.ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout));
  await app.connectWith(stream, async (context) => {
    const clientCapabilities = { fs: { readTextFile: false, writeTextFile: false }, terminal: false };
    const about = await context.request(initialize, { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities });
    const ask = (method, params) => context.request(method, params);
    const begin = async (how = {}) => ask(on.new, { cwd: folder, mcpServers: [], ...how });
    const say = (sessionId, text) => ask(on.prompt, { sessionId, prompt: [{ type: "text", text }] });
    const cancel = (sessionId) => context.notify(on.cancel, { sessionId });
    await talk({ about, ask, begin, say, cancel, told, questions, folder });
  });
  child.stdin.end();
  same(await ended, [0, null]);
}

/** The pieces of the answer among what the client was told of a session. */
const pieces = (told, sessionId, kind = "agent_message_chunk") =>
  told
    .filter((one) => one.sessionId === sessionId && one.update.sessionUpdate === kind)
    .map((one) => one.update.content.text);

const when = async (condition) => {
  const deadline = performance.now() + 60_000;
  while (!condition()) {
    holds(performance.now() < deadline, "not within a minute");
    await new Promise((done) => setTimeout(done, 20));
  }
};

const alone = { runs: null };

scenario("initialize", () => editor("echo", ({ about }) => {
  same(about.protocolVersion, 1);
  same(about.agentCapabilities.loadSession, true);
  same(about.agentInfo.name, "clinvk");
}), alone);

scenario("prompt", () => editor("echo", async ({ begin, say, told }) => {
  const { sessionId } = await begin();
  const { stopReason } = await say(sessionId, PROMPT);
  same(stopReason, "end_turn");
  inPieces(pieces(told, sessionId), PROMPT);
}), alone);

scenario("two-sessions", () => editor("echo", async ({ begin, say, told }) => {
  const [{ sessionId: one }, { sessionId: other }] = await Promise.all([begin(), begin()]);
  const ends = await Promise.all([say(one, PROMPT), say(other, "six seven")]);
  same(ends.map(({ stopReason }) => stopReason), ["end_turn", "end_turn"]);
  same([pieces(told, one).join(""), pieces(told, other).join("")], [PROMPT, "six seven"]);
}), alone);

scenario("cancel", () => editor("slow", async ({ begin, say, cancel, told }) => {
  const { sessionId } = await begin();
  const end = say(sessionId, "many ".repeat(1000));
  await when(() => pieces(told, sessionId).length > 1);
  await cancel(sessionId);
  same((await end).stopReason, "cancelled");
}), alone);

scenario("two-turns", () => editor("echo", async ({ begin, say, told }) => {
  const { sessionId } = await begin();
  await say(sessionId, "one");
  same((await say(sessionId, "two")).stopReason, "end_turn");
  contains(pieces(told, sessionId).join(""), "one", "two");
}), alone);

scenario("load-and-list", async () => {
  let kept;
  await editor("echo", async ({ begin, say }) => {
    kept = (await begin()).sessionId;
    await say(kept, PROMPT);
  });
  await editor("echo", async ({ ask, say, told, folder }) => {
    const { sessions } = await ask(on.list, { cwd: folder });
    holds(sessions.some(({ sessionId }) => sessionId === kept), `${kept} is not in ${JSON.stringify(sessions)}`);
    await ask(on.load, { sessionId: kept, cwd: folder, mcpServers: [] });
    same(pieces(told, kept, "user_message_chunk").join(""), PROMPT);
    same(pieces(told, kept).join(""), PROMPT);
    same((await say(kept, "six")).stopReason, "end_turn");
  });
}, alone);

scenario("model", () => editor("vendors", async ({ begin, ask, say, told }) => {
  const { sessionId, configOptions } = await begin();
  const model = configOptions.find(({ category }) => category === "model");
  const values = model.options.flatMap((option) => option.options ?? [option]).map(({ value }) => value);
  const codex = values.find((value) => value.startsWith("codex"));
  await ask(on.setConfigOption, { sessionId, configId: model.id, value: codex });
  await playModel(HELLO);
  same((await say(sessionId, PROMPT)).stopReason, "end_turn");
  same(pieces(told, sessionId).join(""), ANSWER);
}), alone);

for (const [kind, made] of Object.entries({ allow_once: true, reject_once: false })) {
  scenario(`permission-${kind.replace("_", "-")}`, () => {
    const ask = async ({ begin, say, questions, folder }) => {
      const file = join(folder, `${kind}.txt`);
      const { sessionId } = await begin();
      await playModel({ writes: file }, HELLO);
      same((await say(sessionId, PROMPT)).stopReason, "end_turn");
      same([questions.length > 0, existsSync(file)], [true, made]);
      holds(questions[0].toolCall.toolCallId, "a question without a tool call");
    };
    return editor("vendors", ask, { decide: () => kind });
  }, alone);
}

await play();
