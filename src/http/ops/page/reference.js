// The API, as openapi.json describes it.
import { $, address, askJson, attempt, make, words } from "./common.js";

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
  return make("pre", `curl${verb} ${address("").href}${path.slice(1)}${quoted}`);
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

// It is read once.
export async function show() {
  if (api) return;
  $("spec").href = address("openapi.json");
  await attempt($("api"), async () => {
    api = await askJson("openapi.json");
  });
  if (!api) return;
  $("about").replaceChildren(...words(api.info.description));
  const all = Object.entries(api.paths).flatMap(([path, { parameters = [], ...methods }]) =>
    Object.entries(methods).map(([method, it]) => ({ path, method, parameters, it })));
  const sections = api.tags.map(({ name, description }) => make("div",
    make("h3", name, " ", make("small", ...words(description))),
    ...all.filter(({ it }) => it.tags[0] === name).map(({ path, method, parameters, it }) => operation(path, method, parameters, it))));
  $("routes").replaceChildren(...sections);
}
