// What stands beside the conversation: events, the log, what waits for a person, and what there is to call.

import { call, read } from "./api.js";
import { $, brief, clock, make, shown } from "./dom.js";

const MOST_ROWS = 1000;

/** What a fact is about, in a word or two. */
function title(fact) {
  if (fact.name === "troupe.step") return fact.data?.step ?? fact.name;
  return fact.name ? fact.name.replace("troupe.", "") : fact.type;
}

function row(fact, id) {
  const what = fact.data === null || fact.data === undefined ? "" : brief(fact.data);
  const summary = make("summary", {},
    make("span", { class: "place mono" }, id === undefined ? fact.position ?? "" : String(id)),
    make("span", { class: "name" }, title(fact)),
    make("span", { class: "what mono" }, `${fact.kind ?? ""} ${fact.type} ${what}`),
    make("span", { class: "place mono" }, clock(fact.at)));
  const details = make("details", {}, summary);
  // Most rows are never opened: what is in them is written when they are.
  details.addEventListener("toggle", () => details.append(make("pre", {}, shown(fact))), { once: true });
  return make("li", {}, details);
}

export class Events {
  constructor() {
    this.list = $("facts");
    $("filter").addEventListener("input", () => this.sift());
  }

  clear() {
    this.list.replaceChildren();
  }

  add(line) {
    const fact = line.fact ?? { type: line.event, name: line.event, data: line.data };
    const element = row(fact, line.id);
    element.dataset.words = `${fact.name} ${fact.type} ${fact.kind} ${fact.command} ${brief(fact.data, 400)}`.toLowerCase();
    element.hidden = !this.wanted(element);
    this.list.prepend(element);
    if (this.list.childElementCount > MOST_ROWS) this.list.lastElementChild.remove();
  }

  sift() {
    for (const element of this.list.children) element.hidden = !this.wanted(element);
  }

  wanted(element) {
    return element.dataset.words.includes($("filter").value.trim().toLowerCase());
  }
}

export class Log {
  constructor(session) {
    this.session = session;
    $("reload").addEventListener("click", () => this.load());
  }

  clear() {
    $("history").replaceChildren();
    $("logged").textContent = "";
  }

  async load() {
    const facts = [];
    const asked = this.session();
    for await (const fact of read(`/log/${encodeURIComponent(asked)}`)) facts.push(fact);
    if (asked !== this.session()) return;
    facts.sort((a, b) => a.at.localeCompare(b.at)); // lanes come one after the other
    $("history").replaceChildren(...facts.map((fact) => row(fact)));
    $("logged").textContent = `${facts.length} events`;
  }
}

export class Approvals {
  constructor(notice) {
    this.notice = notice;
    this.cards = new Map();
  }

  async load() {
    const { approvals: waiting } = await call("GET", "/approvals");
    $("pending").hidden = waiting.length === 0;
    $("pending").textContent = waiting.length;
    const ids = new Set(waiting.map((one) => one.id));
    for (const [id, card] of this.cards) {
      if (!ids.has(id)) {
        card.remove();
        this.cards.delete(id);
      }
    }
    for (const one of waiting) {
      if (this.cards.has(one.id)) continue; // a comment that somebody is writing stays
      const { spec } = await call("GET", `/approvals/${encodeURIComponent(one.id)}`);
      this.cards.set(one.id, this.card(one, spec));
      $("waiting").append(this.cards.get(one.id));
    }
  }

  card(one, spec) {
    const comment = make("input", { placeholder: "Comment", "aria-label": "Comment", maxlength: 1000 });
    const decide = async (how) => {
      try {
        await call("POST", `/approvals/${encodeURIComponent(one.id)}/${how}`, { comment: comment.value });
      } catch (error) {
        this.notice(error);
      }
      await this.load();
    };
    const roles = one.roles?.length ? `for ${one.roles.join(", ")}` : "";
    return make("li", {},
      make("h2", {}, one.name),
      make("div", { class: "quiet" }, [one.kind, one.key, roles].filter(Boolean).join(" · ")),
      make("pre", {}, shown(spec.payload ?? null)),
      make("div", { class: "actions" }, comment,
        make("button", { type: "button", class: "primary", onclick: () => decide("approve") }, "Approve"),
        make("button", { type: "button", onclick: () => decide("reject") }, "Reject")));
  }
}

export class Capabilities {
  constructor({ onAgents, onExample }) {
    this.onAgents = onAgents;
    this.onExample = onExample;
    this.known = "";
  }

  /** Reads what there is; gives the names of the kinds. */
  async load() {
    const kinds = await call("GET", "/capabilities");
    const known = JSON.stringify(kinds);
    if (known !== this.known) {
      this.known = known;
      this.onAgents(kinds.filter(answers).map((kind) => kind.kind));
      const first = (kind) => (kind.skill ? 0 : 1);
      $("kinds").replaceChildren(...kinds.toSorted((a, b) => first(a) - first(b)).map((kind) => this.card(kind)));
    }
    return new Set(kinds.map((kind) => kind.kind));
  }

  card(kind) {
    const methods = kind.methods.map((method) =>
      make("details", {},
        make("summary", {}, make("span", { class: "mono" }, method.name), make("span", { class: "quiet" }, ` ${method.flavor}`)),
        make("pre", {}, shown({ arguments: method.arguments, result: method.result }))));
    return make("li", {},
      make("h2", {}, kind.kind),
      make("div", { class: "quiet" }, [kind.type, kind.group, kind.code_version].filter(Boolean).join(" · ")),
      kind.description ? make("p", {}, brief(kind.description, 400)) : null,
      kind.served === false ? make("p", { class: "quiet" }, "No living pod serves it.") : null,
      kind.skill?.examples?.length ? make("div", { class: "chips" }, ...kind.skill.examples.slice(0, 6).map((text) =>
        make("button", { type: "button", onclick: () => this.onExample(text) }, brief(text, 80)))) : null,
      ...methods);
  }
}

/** Whether a kind answers messages of a session: its runs are begun with a Task. */
function answers(kind) {
  const run = kind.methods.find((method) => method.name === "run");
  return Boolean(run?.arguments?.$defs?.Task && run?.result?.$defs?.Answer);
}
