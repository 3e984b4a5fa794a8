// What all parts of the page need. Whatever comes from a server or a backend becomes text, never markup.

export const $ = (id) => document.getElementById(id);

// Below a proxy the server may not be at the root: this file is at `docs/common.js`.
const root = new URL("..", import.meta.url);
export const address = (path) => new URL(path, root);

// An element: `make("p.bad", "text", other)`.
export function make(kind, ...inside) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  element.append(...inside);
  return element;
}

export function button(text, onclick) {
  return Object.assign(make("button", text), { type: "button", onclick });
}

// Text with `code` in it.
export function words(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? make("code", part) : part));
}

/* The key stays with the tab: it is there after a reload, and no other tab has it. */

const KEPT = `clinvk key of ${root.pathname}`;

// A browser that stores nothing for anybody has no place for it.
function stored(act) {
  try {
    return act(sessionStorage);
  } catch {
    return null;
  }
}

$("key").value = stored((place) => place.getItem(KEPT)) || "";

export function onKey(act) {
  $("key").addEventListener("change", () => {
    const key = $("key").value.trim();
    stored((place) => (key ? place.setItem(KEPT, key) : place.removeItem(KEPT)));
    act();
  });
}

/* Requests. */

// A good answer; an error with the server's own sentence otherwise.
export async function ask(path, { headers, ...options } = {}) {
  const key = $("key").value.trim();
  let response;
  try {
    response = await fetch(address(path), { ...options, headers: key ? { ...headers, "X-Api-Key": key } : headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(`the server cannot be reached: ${error.message}`);
  }
  if (!response.ok) throw Object.assign(new Error(await sentence(response)), { status: response.status });
  return response;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

async function sentence(response) {
  const text = await response.text();
  try {
    const { kind, message, request_id } = JSON.parse(text).error;
    return `${message} (${response.status} ${kind}, request ${request_id})`;
  } catch {
    return `${response.status} ${response.statusText} ${text.slice(0, 200)}`;
  }
}

/* A part of the page that shows what the server says. */

const noteOf = (section) => section.querySelector(".note");

export function note(section, text, isBad = false) {
  // What is said twice is announced once.
  if (noteOf(section).textContent !== text.replaceAll("`", "")) noteOf(section).replaceChildren(...words(text));
  noteOf(section).classList.toggle("bad", isBad);
}

// Does this, and shows in the part why it could not be done.
export async function attempt(section, act) {
  try {
    await act();
    return null;
  } catch (error) {
    note(section, error.message, true);
    return error;
  }
}

// How often a part that is looked at is asked for again, in milliseconds.
const PACE = 2000;

// What shows a part and keeps it new for as long as it is looked at. A refusal is not asked for again.
export function kept(section, refresh) {
  let latest = 0, timer;
  return async function turn() {
    const mine = ++latest;
    clearTimeout(timer);
    if (section.hidden) return;
    const error = document.hidden ? null : await attempt(section, refresh);
    if (mine === latest && ![401, 403, 404].includes(error?.status)) timer = setTimeout(turn, PACE);
  };
}

/* Figures in words. */

export function seconds(value) {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
}

export const when = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

// "3 turns"
export const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;
