// A conversation: prompts and their answers in one session, as they come.
import { $, ask, askJson, make, words } from "./common.js";
import { AnswerItem, costs, promptItem, turnItems } from "./transcript.js";

let running = null;
// The session that the next prompt continues, as far as it is known: id, backend, model, working_dir.
let session = null;

export function show() {}

function say(text, isBad = false) {
  $("status").replaceChildren(...words(text));
  $("status").classList.toggle("bad", isBad);
}

/* What may be chosen. */

export async function fillBackends() {
  try {
    const { backends, default: usual } = await askJson("api/v1/backends");
    const chosen = $("backend").value || session?.backend || usual;
    const options = backends.map(({ name, available }) => {
      const option = new Option(available ? name : `${name} (not installed)`, name, false, name === chosen);
      option.disabled = !available;
      return option;
    });
    $("backend").replaceChildren(...options);
    say("");
    await fillModels();
  } catch (error) {
    say(error.message, true);
  }
}

async function fillModels() {
  const name = $("backend").value;
  if (!name) return;
  try {
    const { models } = await askJson(`api/v1/backends/${encodeURIComponent(name)}`);
    $("models").replaceChildren(...models.map(({ alias, model }) => new Option(model, alias)));
  } catch {
    // Names of models are a help only: what is wrong is told with the next prompt.
    $("models").replaceChildren();
  }
}

$("backend").onchange = fillModels;

/* The session. */

function showFacts() {
  const rows = [["Session", session?.id || "a new one"], ["Backend", session?.backend], ["Model", session?.model], ["Directory", session?.working_dir], ["Approval", session?.approval]];
  $("facts").replaceChildren(...rows.filter(([, value]) => value).map(([name, value]) => make("div", make("dt", name), make("dd", value))));
  $("new").disabled = !session || Boolean(running);
  // A session stays with its backend.
  $("backend").disabled = Boolean(session);
}

// Continues a session that there is.
export function open({ id, backend, model, working_dir }, turns) {
  session = { id, backend, model, working_dir };
  $("backend").value = backend;
  $("model").value = $("workdir").value = "";
  $("transcript").replaceChildren(...turns.flatMap(turnItems));
  say("");
  showFacts();
  fillModels();
  // What is hidden takes neither.
  const shown = () => {
    $("transcript").scrollTop = $("transcript").scrollHeight;
    $("prompt").focus();
  };
  addEventListener("hashchange", shown, { once: true });
  location.hash = "#conversation";
}

export const isRunning = () => Boolean(running);

$("new").onclick = () => {
  session = null;
  $("transcript").replaceChildren();
  say("");
  showFacts();
  $("prompt").focus();
};

/* A prompt and its answer. */

// Changes the transcript, and stays at its end unless the user has scrolled up.
function grow(change) {
  const box = $("transcript");
  const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  change();
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}

// The lines of a body, those together that come together.
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    yield whole;
  }
  yield [rest];
}

async function encoded(file) {
  const reader = new FileReader();
  await new Promise((good, bad) => {
    reader.onload = good;
    reader.onerror = () => bad(new Error(`${file.name} cannot be read: ${reader.error.message}`));
    reader.readAsDataURL(file);
  });
  return { media_type: file.type, data: reader.result.split(",")[1] };
}

// Shows one event; gives how the run ended when it was the last one.
function hear({ type, content, session_id, backend }, item) {
  if (session_id) session = { ...session, id: session_id, backend };
  switch (type) {
    case "init":
      session = { ...session, model: content.model, working_dir: content.working_dir };
      item.by(backend, content.model);
      say(`${backend} is at work`);
      break;
    case "message": item.add(content.text); break;
    case "thinking": item.think(content.text); break;
    case "tool_use": item.used(content); break;
    case "tool_result": item.result(content); break;
    case "plan": say(`${content.entries.filter(({ status }) => status === "completed").length} of ${content.entries.length} steps of the plan are done`); break;
    case "progress":
      if (content.stage === "void") item.takeBack(content.characters);
      say(content.message || content.stage);
      break;
    case "error": return { text: `${content.message} (${content.code})`, isBad: true };
    case "done": return { text: [costs(content), ...content.warnings].join("; ") };
  }
  if (type === "init") showFacts();
  return null;
}

async function answered(body, item, signal) {
  const headers = { "Content-Type": "application/json", Accept: "application/x-ndjson", "X-Clinvk-Wait": "10" };
  const response = await ask("api/v1/prompt", { method: "POST", headers, body: JSON.stringify(body), signal });
  let end = null;
  const hearAll = (some) => {
    for (const line of some.filter((line) => line.trim())) end = end?.isBad ? end : hear(JSON.parse(line), item) || end;
  };
  try {
    // The browser lays the transcript out again each time that it grows.
    for await (const some of lines(response.body)) grow(() => hearAll(some));
  } catch (error) {
    throw new Error(`the connection broke: ${error.message}`);
  }
  return end || { text: "the answer was cut", isBad: true };
}

function setRunning(abort) {
  running = abort;
  $("transcript").setAttribute("aria-busy", String(Boolean(abort)));
  $("send").disabled = Boolean(abort);
  $("stop").disabled = !abort;
  showFacts();
}

async function send() {
  const prompt = $("prompt").value;
  if (running) return;
  if (!prompt.trim()) return $("prompt").focus();
  const abort = new AbortController();
  setRunning(abort);
  say("waiting for the answer");
  const chosen = (id) => $(id).value.trim() || undefined;
  const item = new AnswerItem(session?.backend || chosen("backend"), session?.model);
  let end;
  try {
    const images = await Promise.all([...$("images").files].map(encoded));
    $("transcript").append(promptItem(prompt, images), item.element);
    $("transcript").scrollTop = $("transcript").scrollHeight;
    $("prompt").value = "";
    const body = {
      prompt,
      session_id: session?.id,
      backend: session ? undefined : chosen("backend"),
      model: chosen("model"),
      workdir: chosen("workdir"),
      approval_mode: chosen("approval"),
      images: images.length ? images : undefined,
    };
    end = await answered(body, item, abort.signal);
  } catch (error) {
    end = { text: abort.signal.aborted ? "stopped" : error.message, isBad: true, status: error.status };
  }
  if (end.status) {
    // What was refused is there to be sent again.
    $("prompt").value ||= prompt;
  } else {
    $("images").value = "";
    if (session) session.approval = chosen("approval");
  }
  if (end.status === 401) $("key").focus();
  grow(() => item.end(end.text, end.isBad));
  say(end.isBad ? end.text : `done in ${end.text}`, end.isBad);
  setRunning(null);
}

$("send").onclick = send;
$("stop").onclick = () => running?.abort();
$("prompt").onkeydown = (event) => {
  // The Enter that ends a word of an input method is its own.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
};
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("conversation").hidden) running?.abort();
});
showFacts();
