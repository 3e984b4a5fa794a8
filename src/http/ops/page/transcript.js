// How prompts and answers look, in the conversation and in the turns of a session.
import { counted, make, seconds, words } from "./common.js";

const inWords = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));

export function promptItem(text, pictures = []) {
  const item = make("li.prompt", make("h3", "You"), make("div.text", text));
  for (const { media_type, data } of pictures) {
    const picture = make("img");
    picture.src = `data:${media_type};base64,${data}`;
    picture.alt = "an image that was sent along";
    item.append(picture);
  }
  return item;
}

// Where an answer appears, piece by piece.
export class AnswerItem {
  #text = document.createTextNode("");
  #head = make("h3");
  #folds = {};
  #body = make("div.text", this.#text);
  #foot = make("p.foot");
  element = make("li.answer", this.#head, this.#body, this.#foot);

  constructor(backend, model) {
    this.by(backend, model);
  }

  by(backend, model) {
    this.#head.textContent = [backend || "answer", model].filter(Boolean).join(" · ");
  }

  add(text) {
    this.#text.appendData(text);
  }

  // The answer broke off and begins anew.
  takeBack(characters) {
    this.#text.data = [...this.#text.data].slice(0, -characters).join("");
  }

  #fold(title, text) {
    if (!this.#folds[title]) {
      const inside = make("pre");
      this.#body.before(make("details", make("summary", title), inside));
      this.#folds[title] = inside;
    }
    this.#folds[title].append(text);
  }

  think(text) {
    this.#fold("Thinking", text);
  }

  tool(text) {
    this.#fold("Tools", text);
  }

  used({ tool_name, input }) {
    this.tool(`${tool_name} ${inWords(input)}\n`);
  }

  result({ is_error, output }) {
    this.tool(`${is_error ? "failed: " : ""}${inWords(output)}\n\n`);
  }

  end(text, isBad = false) {
    this.#foot.replaceChildren(...words(text));
    this.#foot.classList.toggle("bad", isBad);
  }
}

// "1.2 s, 3 tokens in, 5 out"
export function costs({ usage, duration_seconds: duration, cost }) {
  const parts = duration === null || duration === undefined ? [] : [seconds(duration)];
  if (usage?.total_tokens) parts.push(`${counted(usage.input_tokens, "token")} in`, `${usage.output_tokens} out`);
  if (cost) parts.push(`$${cost.toFixed(4)}`);
  return parts.join(", ");
}

// The items of a stored turn.
export function turnItems({ prompt, backend, model, content, error, kind, ...turn }) {
  const answer = new AnswerItem(backend, model);
  answer.add(content);
  answer.end(error ? `${error} (${kind})` : costs(turn), Boolean(error));
  return [promptItem(prompt), answer.element];
}
