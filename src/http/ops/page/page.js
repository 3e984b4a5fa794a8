// Shows one part of the page at a time, by the address behind its `#`.
import { $, onKey } from "./common.js";
import * as api from "./reference.js";
import * as conversation from "./conversation.js";
import * as figures from "./figures.js";
import * as runs from "./runs.js";
import * as sessions from "./sessions.js";

const parts = { conversation, sessions, runs, figures, api };

function show() {
  const asked = location.hash.slice(1);
  const name = Object.hasOwn(parts, asked) ? asked : "conversation";
  for (const other of Object.keys(parts)) $(other).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  parts[name].show();
}

addEventListener("hashchange", show);
onKey(() => {
  conversation.fillBackends();
  show();
});
conversation.fillBackends();
show();
