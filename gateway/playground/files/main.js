// The page: which session it shows, what is sent, and which view is in front.

import { call, follow, key } from "./api.js";
import { Conversation } from "./conversation.js";
import { $, make } from "./dom.js";
import { Approvals, Capabilities, Events, Log } from "./panels.js";

const EVERY_MS = 4000;
const ROUTER = "router";

let session = "";
let watching = new AbortController();
let hiding = 0;

function notice(error) {
  $("notice").textContent = error.message ?? String(error);
  $("notice").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { $("notice").hidden = true; }, 8000);
  if (error.status === 401) askForKey();
}

function askForKey() {
  $("unlock").hidden = false;
  if (!$("keys").open) $("keys").showModal();
}

const conversation = new Conversation({ onBusy: (busy) => { $("stop").hidden = busy.size === 0; } });
const events = new Events();
const log = new Log(() => session);
const approvals = new Approvals(notice);
const capabilities = new Capabilities({ onAgents: offer, onExample: suggest });

/** Runs what may fail, and tells the person when it does. */
async function trying(what) {
  try {
    return await what();
  } catch (error) {
    notice(error);
    return undefined;
  }
}

// -- the session ---------------------------------------------------------------------------------------------------

function open(name) {
  session = name;
  $("session").value = name;
  if (location.hash.slice(1) !== encodeURIComponent(name)) history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  watching.abort();
  watching = new AbortController();
  conversation.clear();
  events.clear();
  log.clear();
  const signal = watching.signal;
  follow(name, { signal, entry, state: (word, error) => link(word, error) });
  trying(async () => {
    const lines = await ask("history", { after: 0, limit: 1000 });
    if (!signal.aborted) conversation.remember(lines);
  });
}

async function ask(method, args) {
  const { result } = await call("POST", "/intent", { kind: "session", key: session, method, args });
  return result;
}

function entry(line) {
  events.add(line);
  if (line.fact) conversation.fact(line.fact);
}

function link(word, error) {
  const badge = $("link");
  badge.className = `badge ${word === "live" ? "live" : "lost"}`;
  badge.textContent = { live: "live", lost: "connecting again", refused: "not let in" }[word];
  if (error) notice(error);
}

// -- what is said --------------------------------------------------------------------------------------------------

function offer(agents) {
  const before = $("agent").value;
  const names = [...new Set(agents)].sort((a, b) => (b === ROUTER) - (a === ROUTER) || a.localeCompare(b));
  $("agent").replaceChildren(...names.map((name) => make("option", { value: name }, name === ROUTER ? "whoever fits" : name)));
  if (names.includes(before)) $("agent").value = before;
}

/** Puts a sentence where it can be sent. */
function suggest(text) {
  $("text").value = text;
  show("chat");
  grow();
  $("text").focus();
}

async function send() {
  const text = $("text").value.trim();
  if (!text) return;
  const run = `page-${crypto.randomUUID()}`;
  const body = { kind: "session", key: session, method: "say", id: run, session, args: { text, agent: $("agent").value || ROUTER } };
  $("text").value = "";
  grow();
  conversation.sent(run, text);
  try {
    await call("POST", "/intent", body);
  } catch (error) {
    conversation.refused(run);
    $("text").value = text;
    notice(error);
  }
}

function grow() {
  const field = $("text");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

$("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
$("stop").addEventListener("click", () => trying(() => ask("cancel", {})));

// -- views ---------------------------------------------------------------------------------------------------------

function show(view) {
  document.body.dataset.tab = view;
  for (const tab of document.querySelectorAll("[role=tab]")) tab.setAttribute("aria-selected", tab.dataset.view === view);
  if (view === "log") trying(() => log.load());
}

for (const tab of document.querySelectorAll("[role=tab]")) tab.addEventListener("click", () => show(tab.dataset.view));
$("session").addEventListener("change", () => open($("session").value.trim() || fresh()));
$("fresh").addEventListener("click", () => { open(fresh()); show("chat"); $("text").focus(); });
$("unlock").addEventListener("click", askForKey);
$("keys").addEventListener("close", () => {
  if ($("keys").returnValue !== "use") return;
  key.set($("key").value.trim());
  $("key").value = "";
  start();
});
window.addEventListener("hashchange", () => {
  const name = decodeURIComponent(location.hash.slice(1));
  if (name && name !== session) open(name);
});

function fresh() {
  return `chat-${crypto.randomUUID().slice(0, 8)}`;
}

async function look() {
  await trying(async () => {
    const served = await capabilities.load();
    if (served.has("approval")) await approvals.load();
  });
}

function start() {
  open(session || decodeURIComponent(location.hash.slice(1)) || fresh());
  look();
}

start();
setInterval(() => { if (!document.hidden && !$("keys").open) look(); }, EVERY_MS);
