// The conversation, drawn from the session's facts: each run is one turn, and a fact that comes twice changes nothing.

import { $, atEnd, brief, make, shown } from "./dom.js";

const list = $("conversation");

/** One message of a person, and what comes of it. */
class Turn {
  constructor(run) {
    this.run = run;
    this.pieces = new Map();
    this.over = false;
    this.element = make("li", { class: "turn", "data-run": run });
    this.asked = make("div", { class: "said user" });
    this.answers = make("div", { class: "turn" });
    this.dots = make("div", { class: "dots", role: "status" }, "…");
    this.element.append(this.asked, this.answers, this.dots);
  }

  begin(text, waits) {
    this.asked.textContent = text;
    this.dots.textContent = waits ? "waits for the answer before it" : "…";
    this.dots.hidden = this.over;
  }

  /** The element of a piece, which is made when there is none of that name. */
  piece(name, build) {
    if (!this.pieces.has(name)) {
      const element = build();
      this.pieces.set(name, element);
      this.answers.append(element);
    }
    return this.pieces.get(name);
  }

  drop(name) {
    this.pieces.get(name)?.remove();
    this.pieces.delete(name);
  }

  clear() {
    this.pieces.clear();
    this.answers.replaceChildren();
  }

  text(name, text, { streaming = false, reasoning = false } = {}) {
    const element = this.piece(name, () => make("div", { class: "said assistant" }));
    element.textContent = text;
    element.classList.toggle("streaming", streaming);
    element.classList.toggle("reasoning", reasoning);
    element.hidden = !text;
  }

  tool(name, call, result) {
    const element = this.piece(name, () =>
      make("details", { class: "tool" }, make("summary"), make("pre", { class: "given" }), make("pre", { class: "result" })));
    const [summary, given, told] = element.children;
    if (call) {
      element.dataset.name = call.name;
      given.textContent = pretty(call.arguments);
      summary.textContent = `${call.name}(${brief(named(call.arguments), 80)})`;
    }
    told.hidden = result === undefined;
    if (result !== undefined) {
      element.dataset.done = "1";
      told.textContent = pretty(result);
      if (!summary.textContent.includes("→")) summary.textContent += ` → ${brief(result, 80)}`;
    }
  }

  /** All that a run has said, once it is over. */
  end(messages, error) {
    this.over = true;
    this.clear();
    for (const [at, message] of (messages ?? []).entries()) this.message(at, message);
    if (error) {
      const words = error.code === "cancelled" ? "stopped" : `${error.code}: ${error.message}`;
      this.answers.append(make("div", { class: "said wrong" }, words));
    }
    this.dots.hidden = true;
  }

  message(at, message) {
    if (message.role === "tool") {
      this.tool(`call ${message.tool_call_id}`, null, message.content ?? "");
      return;
    }
    if (message.content) {
      this.text(`said ${at}`, message.content);
      if (message.name) this.answers.append(make("div", { class: "who" }, message.name));
    }
    for (const call of message.tool_calls ?? []) this.tool(`call ${call.id}`, call);
  }
}

export class Conversation {
  constructor({ onBusy }) {
    this.turns = new Map();
    this.busy = new Set();
    this.onBusy = onBusy;
  }

  clear() {
    this.turns.clear();
    this.busy.clear();
    list.replaceChildren();
    this.onBusy(this.busy);
  }

  turn(run) {
    if (!this.turns.has(run)) {
      const turn = new Turn(run);
      this.turns.set(run, turn);
      list.append(turn.element);
    }
    return this.turns.get(run);
  }

  /** A message that is on its way: shown before anybody has confirmed it. */
  sent(run, text) {
    this.changed(() => this.turn(run).begin(text, false));
    list.scrollTop = list.scrollHeight;
  }

  /** It did not arrive. */
  refused(run) {
    this.turns.get(run)?.element.remove();
    this.turns.delete(run);
  }

  /** What the session remembers: `lines` as its history gives them. */
  remember(lines) {
    this.changed(() => {
      const runs = new Map();
      for (const line of lines) {
        if (!runs.has(line.run)) runs.set(line.run, []);
        runs.get(line.run).push(line.message);
      }
      for (const [run, messages] of runs) {
        const turn = this.turn(run);
        const [first, ...rest] = messages;
        if (first.role !== "user") continue;
        turn.begin(first.content, false);
        if (rest.length && !turn.over) turn.end(rest);
      }
    });
  }

  /** A fact of the session's stream. */
  fact(fact) {
    this.changed(() => {
      if (fact.kind === "session" && fact.type === "event") this.ofSession(fact);
      else if (this.turns.has(fact.command)) this.ofRun(this.turns.get(fact.command), fact);
    });
  }

  ofSession({ name, data }) {
    if (name === "Began") {
      this.turn(data.work.id).begin(data.text, false);
      this.work(data.work.id, true);
    } else if (name === "Queued") {
      this.turn(data.waiting.id).begin(data.waiting.text, true);
    } else if (name === "Over") {
      this.turn(data.id).end(data.messages, data.error);
      this.work(data.id, false);
    } else if (name === "Withdrawn") {
      this.turn(data.id).end([], { code: "cancelled" });
    }
  }

  ofRun(turn, { type, name, data }) {
    if (turn.over) return;
    if (name === "run" && (type === "result" || type === "error")) {
      turn.end(data?.messages, type === "error" ? data : undefined);
      this.work(turn.run, false);
      return;
    }
    if (type !== "event" || name !== "troupe.step") return;
    const number = `step ${data.step} ${data.occurrence}`;
    if (data.step === "model" && data.result?.message) {
      const { content, tool_calls: calls } = data.result.message;
      turn.drop("reasoning");
      turn.drop("streaming");
      if (content) turn.text(number, content);
      for (const call of calls ?? []) turn.tool(`${number} ${call.id}`, call);
    } else if (data.step.startsWith("tool ")) {
      const called = data.step.slice(5);
      const open = [...turn.pieces].find(([, one]) => one.dataset.name === called && !one.dataset.done);
      turn.tool(open ? open[0] : number, open ? null : { name: called, arguments: "" }, data.result ?? data.error ?? "");
    }
  }

  work(run, begins) {
    if (begins) this.busy.add(run);
    else this.busy.delete(run);
    this.onBusy(this.busy);
  }

  changed(change) {
    const follow = atEnd(list);
    change();
    if (follow) list.scrollTop = list.scrollHeight;
  }
}

/** Arguments as a person would write them: `item: "a lamp"`. */
function named(text) {
  try {
    return Object.entries(JSON.parse(text)).map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(", ");
  } catch {
    return text;
  }
}

function pretty(text) {
  try {
    return shown(JSON.parse(text));
  } catch {
    return shown(text);
  }
}
