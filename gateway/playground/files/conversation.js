// The conversation, drawn from the session's facts: each run is one turn, and a fact that comes twice changes nothing.

import { $, atEnd, brief, make, shown } from "./dom.js";

const list = $("conversation");
const ROUTER = "router";

/** One message of a person, and what comes of it. */
class Turn {
  constructor(run) {
    this.run = run;
    this.pieces = new Map();
    this.drafts = new Map();
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

  dropAll(prefix) {
    for (const name of [...this.pieces.keys()]) if (name.startsWith(prefix)) this.drop(name);
  }

  clear() {
    this.pieces.clear();
    this.drafts.clear();
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
    const open = [...this.answers.querySelectorAll("details")].map((one) => one.open);
    this.clear();
    for (const [at, message] of (messages ?? []).entries()) this.message(at, message);
    for (const [at, one] of this.answers.querySelectorAll("details").entries()) one.open = open[at] ?? false;
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
      if (fact.kind === "session") {
        if (fact.type === "event") this.ofSession(fact);
        return;
      }
      const turn = this.turns.get(fact.command);
      if (turn) this.ofRun(turn, fact);
      else this.ofChild(fact);
    });
  }

  /** A fact of another run: of what the router has picked, it is the turn's own. */
  ofChild(fact) {
    for (const turn of this.turns.values()) {
      if (!turn.over && turn.kind === ROUTER && fact.key === `${turn.key}/1` && fact.name !== "run") this.ofRun(turn, fact);
    }
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

  ofRun(turn, fact) {
    const { type, name, data } = fact;
    if (turn.over) return;
    if (fact.command === turn.run) [turn.kind, turn.key] = [fact.kind, fact.key];
    if (type === "event" && name === "troupe.step" && data.step === "route") this.routed(turn, data.result);
    if (name === "run" && (type === "result" || type === "error")) {
      turn.end(data?.messages, type === "error" ? data : undefined);
      this.work(turn.run, false);
      return;
    }
    if (type === "progress" && name === "model") this.draft(turn, fact);
    if (type === "progress" && name === "") for (const note of data) this.note(turn, note);
    if (type === "event" && name === "troupe.step" && data.step === "model") this.thought(turn, data);
  }

  routed(turn, result) {
    if (!result?.to) return;
    const sure = result.choice ? ` (${Math.round((result.choice.confidence ?? 0) * 100)} % sure)` : "";
    turn.piece("routed", () => make("div", { class: "who" }, `→ ${result.to}${sure}`));
  }

  /** What a model has answered, as it is recorded: it takes the place of its pieces. */
  thought(turn, { occurrence, result }) {
    const number = `model ${occurrence}`;
    turn.drop(`${number} reasoning`);
    turn.drop(number);
    turn.drafts.set(number, { attempt: Infinity }); // what of its pieces comes late is void
    if (!result?.message) return;
    const { content, tool_calls: calls } = result.message;
    if (content) turn.text(number, content);
    for (const [at, call] of (calls ?? []).entries()) turn.tool(place(occurrence, at), call);
  }

  /** What came of a call. */
  note(turn, { call, name, text, agent }) {
    turn.tool(`call ${call}`, turn.pieces.has(`call ${call}`) ? null : { name, arguments: "" }, text);
    if (agent) turn.piece(`goes on ${call}`, () => make("div", { class: "who" }, `${agent} goes on`));
  }

  /** Pieces of an answer that is on its way. A later attempt takes the place of all that an earlier one has shown. */
  draft(turn, { occurrence = 0, attempt, first = 0, data }) {
    const number = `model ${occurrence}`;
    const known = turn.drafts.get(number);
    if (known && attempt < known.attempt) return;
    const draft = known?.attempt === attempt ? known : { attempt, next: 0, text: "", reasoning: "", calls: new Map() };
    turn.drafts.set(number, draft);
    // Where the stream was cut, what is missing comes whole with the step's result.
    if (first > draft.next) draft.text += "…";
    for (const piece of data.slice(Math.max(draft.next - first, 0))) {
      draft.text += piece.text ?? "";
      draft.reasoning += piece.reasoning ?? "";
      if (piece.call) {
        const call = draft.calls.get(piece.call.index ?? 0) ?? { name: "", arguments: "" };
        call.name += piece.call.name ?? "";
        call.arguments += piece.call.arguments ?? "";
        draft.calls.set(piece.call.index ?? 0, call);
      }
    }
    draft.next = Math.max(draft.next, first + data.length);
    turn.text(`${number} reasoning`, draft.reasoning, { streaming: !draft.text, reasoning: true });
    turn.text(number, draft.text, { streaming: true });
    if (draft !== known) turn.dropAll(place(occurrence));
    for (const [index, call] of draft.calls) turn.tool(place(occurrence, index), call);
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

/** The name of a call's element: which of the run's answers it is of, and which call of that; both from 0. */
function place(occurrence, index) {
  return `call ${occurrence + 1}.${index === undefined ? "" : index + 1}`;
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
