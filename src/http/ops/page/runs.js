// What runs, and what of that came to an end lately; each can be stopped.
import { $, ask, askJson, attempt, button, counted, kept, make, note, seconds, when } from "./common.js";

const section = $("runs");
// The items by the ids of their runs: they stay where they are, so that a button that has the focus keeps it.
const items = new Map();

export const show = kept(section, async () => {
  const { runs } = await askJson("api/v1/runs");
  const ids = new Set(runs.map(({ id }) => id));
  for (const [id, item] of items) {
    if (ids.has(id)) continue;
    item.element.remove();
    items.delete(id);
  }
  for (const run of runs) {
    if (!items.has(run.id)) items.set(run.id, begin(run));
    items.get(run.id).update(run);
  }
  const running = runs.filter(({ state }) => state === "running").length;
  note(section, runs.length ? `${counted(running, "run")} under way, ${runs.length - running} over` : "nothing runs");
});

function begin({ id, route, client, key, since, detached }) {
  const state = make("b.badge"), backend = make("span"), took = make("span"), session = make("p"), why = make("p.bad");
  const cancel = button("Cancel", () => attempt(section, async () => {
    cancel.disabled = true;
    await ask(`api/v1/runs/${id}`, { method: "DELETE" });
    await show();
  }));
  cancel.setAttribute("aria-label", `Cancel run ${id}`);
  const about = [route, detached && "detached", `since ${when(since)}`, `from ${client}`, key && `key ${key}`].filter(Boolean).join(" · ");
  const element = make("li", make("div.row", state, backend, took, cancel), make("small", about), session, why);
  element.dataset.run = id;
  // The newest is first.
  $("run-list").prepend(element);
  const update = (run) => {
    const isOver = run.state === "done";
    state.textContent = isOver ? run.kind || "done" : "running";
    state.classList.toggle("bad", Boolean(run.kind));
    backend.textContent = run.backend || "waiting for its turn";
    took.textContent = seconds(run.seconds);
    session.replaceChildren(...(run.session_id ? ["session ", make("code", run.session_id)] : []));
    why.textContent = run.error === run.kind ? "" : run.error;
    cancel.hidden = isOver;
  };
  return { element, update };
}
