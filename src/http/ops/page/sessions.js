// The sessions with their turns; each can be continued.
import { $, askJson, attempt, button, counted, make, note, when } from "./common.js";
import * as conversation from "./conversation.js";
import { turnItems } from "./transcript.js";

const section = $("sessions");
// How many are asked for at once.
const AT_ONCE = 20;
// The ids of those that are in the list: one that was used meanwhile stands in two answers.
const listed = new Set();

export const show = () => attempt(section, () => load(0));

async function load(offset) {
  const { sessions, total, problems } = await askJson(`api/v1/sessions?limit=${AT_ONCE}&offset=${offset}`);
  if (!offset) {
    $("session-list").replaceChildren();
    listed.clear();
  }
  $("session-list").append(...sessions.filter(({ id }) => !listed.has(id) && listed.add(id)).map(item));
  const shown = offset + sessions.length;
  $("more").hidden = shown >= total;
  $("more").onclick = () => attempt(section, () => load(shown));
  note(section, [total ? `${shown} of ${counted(total, "session")}` : "there are no sessions yet", ...problems].join("; "));
}

function item(session) {
  const { id, title, backend, model, status, turn_count: turns, last_used_at: last } = session;
  const about = [backend, model, counted(turns, "turn"), status, when(last)].filter(Boolean).join(" · ");
  const box = make("details", make("summary", title || "without a title", make("small", about)));
  // Most are never opened.
  box.ontoggle = () => box.childElementCount > 1 || attempt(section, () => fill(box, session));
  return make("li", box);
}

async function fill(box, session) {
  const { turns } = await askJson(`api/v1/sessions/${session.id}/turns`);
  const go = button("Continue", () => {
    if (conversation.isRunning()) return note(section, "an answer is under way in the conversation: stop it first", true);
    conversation.open(session, turns);
  });
  const items = turns.length ? turns.flatMap(turnItems) : [make("li", "no turn is kept of it")];
  if (box.childElementCount === 1) box.append(make("p.row", make("code", session.id), go), make("p", make("code", session.working_dir)), make("ol.turns", ...items));
}

$("reload").onclick = show;
