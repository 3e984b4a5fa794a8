
"use strict";
// Whatever comes from a server or a backend becomes text, never markup.
const $ = (id) => document.getElementById(id);
// Below a proxy the server may not be at the root.
const base = location.pathname.replace(/\/docs\/*$/, "");

function make(tag, ...inside) {
  const element = document.createElement(tag);
  element.append(...inside);
  return element;
}

// Text with `code` in it.
function words(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? make("code", part) : part));
}

/* A prompt. */

let running = null, session = null;

function headers(more) {
  const key = $("key").value.trim();
  return key ? { ...more, "X-Api-Key": key } : more;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

// What a failed answer says, or else its status.
async function problem(response) {
  const text = await response.text();
  try {
    const { kind, message, request_id } = JSON.parse(text).error;
    return `${message} (${response.status} ${kind}, request ${request_id})`;
  } catch {
    return `${response.status} ${response.statusText} ${text.slice(0, 200)}`;
  }
}

async function fillBackends() {
  let response;
  try {
    response = await fetch(base + "/api/v1/backends", { headers: headers({}) });
    if (!response.ok) return say(await problem(response), true);
    const { backends, default: usual } = await response.json();
    const options = backends.map(({ name, available }) => {
      const option = new Option(available ? name : `${name} (not installed)`, name, false, name === usual);
      option.disabled = !available;
      return option;
    });
    $("backend").replaceChildren(...options);
    say("");
  } catch (error) {
    say(`the server cannot be reached: ${error.message}`, true);
  }
}

// The lines of a body, as they come.
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    yield* whole;
  }
  yield rest;
}

function fold(id, text) {
  $(id).hidden = false;
  $(id).querySelector("pre").append(text);
}

const inWords = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));

// Shows one event; says how the run ended when it was the last one.
function show({ type, content, session_id }) {
  switch (type) {
    case "init": say(`${content.model || "the backend"} is at work`); break;
    case "message": $("output").append(content.text); break;
    case "thinking": fold("thinking", content.text); break;
    case "tool_use": fold("tools", `${content.tool_name} ${inWords(content.input)}\n`); break;
    case "tool_result": fold("tools", `${content.is_error ? "failed: " : ""}${inWords(content.output)}\n\n`); break;
    case "progress": say(content.message || content.stage); break;
    case "error": return { bad: `${content.message} (${content.code})` };
    case "done": {
      session = session_id;
      const { input_tokens, output_tokens } = content.token_usage;
      const notes = content.warnings.map((warning) => `; ${warning}`).join("");
      return { good: `done in ${content.duration.toFixed(1)} s, ${input_tokens} tokens in, ${output_tokens} out${notes}` };
    }
  }
  return null;
}

async function send() {
  const prompt = $("prompt").value;
  if (!prompt.trim()) return $("prompt").focus();
  for (const id of ["thinking", "tools"]) {
    $(id).hidden = true;
    $(id).querySelector("pre").replaceChildren();
  }
  $("output").replaceChildren();
  $("output").setAttribute("aria-busy", "true");
  $("send").disabled = true;
  $("stop").disabled = false;
  say("waiting for the answer");
  running = new AbortController();
  const body = { prompt, backend: $("backend").value || undefined };
  if ($("go-on").checked && session) body.session_id = session;
  let end = null;
  try {
    const response = await fetch(base + "/api/v1/prompt", {
      method: "POST",
      headers: headers({ "Content-Type": "application/json", Accept: "application/x-ndjson" }),
      body: JSON.stringify(body),
      signal: running.signal,
    });
    if (!response.ok) {
      end = { bad: await problem(response) };
      if (response.status === 401) $("key").focus();
    } else {
      for await (const line of lines(response.body)) {
        if (line.trim()) end = end?.bad ? end : show(JSON.parse(line)) || end;
      }
      end ||= { bad: "the answer was cut" };
    }
  } catch (error) {
    end = { bad: error.name === "AbortError" ? "stopped" : `the connection broke: ${error.message}` };
  }
  running = null;
  $("output").setAttribute("aria-busy", "false");
  $("send").disabled = false;
  $("stop").disabled = true;
  $("go-on").disabled = !session;
  say(end.bad || end.good, Boolean(end.bad));
}

$("send").onclick = send;
$("stop").onclick = () => running?.abort();
$("key").onchange = fillBackends;
$("prompt").onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running) send();
};
fillBackends();

/* The API. */

let api;

// What a `$ref` means, with what stands beside it.
function known(value) {
  if (!value?.$ref) return value;
  const { $ref, ...beside } = value;
  const target = $ref.slice(2).split("/").reduce((at, part) => at[part], api);
  return { ...known(target), ...beside, called: $ref.split("/").pop(), same: $ref.includes("/properties/") };
}

function kind(schema) {
  const it = known(schema);
  if (it.enum) return it.enum.join(" | ");
  if (it.type === "array") return `list of ${kind(it.items)}`;
  if (it.type) return [].concat(it.type).join(" or ");
  return (it.oneOf || []).map(kind).join(" or ") || "any JSON";
}

// The fields of an object, those of its parts first.
function fields(schema) {
  const it = known(schema);
  const parts = (it.allOf || []).flatMap(fields);
  const own = Object.entries(it.properties || {}).filter(([, value]) => value);
  const refused = Object.entries(it.properties || {}).filter(([, value]) => value === false).map(([name]) => name);
  return [...parts.filter(([name]) => !refused.includes(name)), ...own];
}

function list(title, items) {
  if (!items.length) return [];
  const one = ([name, schema, help]) => {
    const it = known(schema);
    const about = it.same ? `the same as \`${it.called}\`` : help || it.description;
    return [make("dt", make("code", name), make("small", ` ${kind(schema)}`)), make("dd", ...words(about))];
  };
  return [make("h4", title), make("dl", ...items.flatMap(one))];
}

function example(method, path, content) {
  const { value } = Object.values(content?.examples || {})[0] || {};
  const quoted = value ? ` -d '${JSON.stringify(value).replaceAll("'", "'\\''")}'` : "";
  const verb = method === "get" || (method === "post" && value) ? "" : ` -X ${method.toUpperCase()}`;
  return make("pre", `curl${verb} ${location.origin}${base}${path}${quoted}`);
}

function operation(path, method, shared, it) {
  const box = make("details", make("summary", make("b", method.toUpperCase()), make("code", path), " ", make("small", it.summary)));
  // Most are never opened.
  box.ontoggle = () => {
    if (box.childElementCount > 1) return;
    const content = it.requestBody?.content["application/json"];
    const parameters = [...shared, ...(it.parameters || [])].map(known);
    const answers = Object.entries(it.responses).map(([status, answer]) => [status, known(answer)]);
    const types = ([status, { content: of, description }]) => {
      const types = Object.keys(of || {}).join(", ");
      return [make("dt", make("code", status), make("small", ` ${types}`)), make("dd", ...words(description))];
    };
    const more = it.externalDocs ? [make("p", "The vendor's own words: ", link(it.externalDocs.url))] : [];
    const good = known(it.responses["200"])?.content?.["application/json"]?.schema;
    box.append(
      make("p", ...words(it.description || it.summary)),
      ...more,
      ...list("Parameters", parameters.map(({ name, in: place, schema, description }) => [`${name} (${place})`, schema, description])),
      ...list("Body", fields(content?.schema)),
      make("h4", "Answers"),
      make("dl", ...answers.flatMap(types)),
      ...list("Fields of the answer", fields(known(good)?.oneOf?.[0] || good)),
      make("h4", "Example"),
      example(method, path, content),
    );
  };
  return box;
}

function link(url) {
  const anchor = make("a", url);
  anchor.href = url;
  anchor.rel = "noreferrer";
  return anchor;
}

async function render() {
  $("routes").replaceChildren("loading");
  $("spec").href = base + "/openapi.json";
  try {
    api = await (await fetch($("spec").href)).json();
  } catch (error) {
    return $("routes").replaceChildren(`openapi.json cannot be read: ${error.message}`);
  }
  $("version").textContent = api.info.version;
  $("about").replaceChildren(...words(api.info.description));
  const all = Object.entries(api.paths).flatMap(([path, { parameters = [], ...methods }]) =>
    Object.entries(methods).map(([method, it]) => ({ path, method, parameters, it })));
  const sections = api.tags.map(({ name, description }) => make("div",
    make("h3", name, " ", make("small", ...words(description))),
    ...all.filter(({ it }) => it.tags[0] === name).map(({ path, method, parameters, it }) => operation(path, method, parameters, it))));
  $("routes").replaceChildren(...sections);
}
render();
