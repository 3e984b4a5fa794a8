// What the clients in Node share: the list of scenarios, and the line to the harness. play.py is the same in Python,
// and says how it works.

import assert from "node:assert/strict";
import { Console } from "node:console";
import { createInterface } from "node:readline";

export const PROMPT = "one two three four five";
export const HELLO = ["Hello", " from", " the", " stub", "."];
export const ANSWER = HELLO.join("");
export const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";
export const LETTERS = "日本 \u2028 \u2029 \x85 😀 \0 \t \" \\ </script> end";
export const SCHEMA = {
  type: "object",
  properties: { answer: { type: "integer" } },
  required: ["answer"],
  additionalProperties: false,
};
export const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const scenarios = [];
const servers = {};

// Libraries print what they like; on the line it would be noise.
globalThis.console = new Console(process.stderr);

const tell = (what) => process.stdout.write(JSON.stringify(what) + "\n");

async function ask(what) {
  tell(what);
  return JSON.parse((await answers.next()).value);
}

export async function server(name = "echo") {
  servers[name] ??= (await ask({ server: name })).url;
  return servers[name];
}

/** What starts `clinvk acp` with this configuration: its command, its environment and its folder. */
export const agent = (name) => ask({ agent: name });

export const playModel = (...turns) => ask({ turns });

export const heard = () => ask({ heard: true });

/** Registers a function. `runs`, `requests`: how many it costs the server. */
export function scenario(name, play, { runs = 1, requests = null } = {}) {
  scenarios.push({ name, play, runs, requests });
}

export async function play() {
  const words = process.argv.slice(2);
  const chosen = scenarios.filter(({ name }) => !words.length || words.some((word) => name.startsWith(word)));
  for (const { name, play, runs, requests } of chosen) {
    tell({ begins: name });
    const since = performance.now();
    let problem = "";
    try {
      await play();
    } catch (error) {
      problem = error.stack || String(error);
    }
    const seconds = (performance.now() - since) / 1000;
    await ask({ scenario: name, problem, seconds, runs, requests });
  }
  tell({ scenarios: chosen.length });
}

export const same = assert.deepEqual;
export const holds = assert.ok;

/** The error that this has to reject with. */
export async function raises(kind, call, { status, says = "" } = {}) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    holds(error instanceof kind, `not ${kind.name}, but ${error.stack}`);
    if (status) same(error.status ?? error.statusCode, status, `status of ${error}`);
    holds(String(error.message).includes(says), `\`${says}\` is not in: ${error.message}`);
    return error;
  }
  throw new Error(`no ${kind.name}, but ${JSON.stringify(answer)}`);
}

/** That these pieces make the whole, and are several. */
export function inPieces(pieces, whole) {
  same(pieces.join(""), whole);
  holds(pieces.length > 1, "the stream came in one piece");
}

export async function all(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

export const contains = (text, ...words) =>
  words.forEach((word) => holds(text.includes(word), `\`${word}\` is not in: ${text}`));
