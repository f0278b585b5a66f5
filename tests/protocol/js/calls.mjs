// The wire protocol with the official JavaScript client and nothing of Troupe. Ends with 0 when everything holds.
// token.mjs and partition.mjs are the code of docs/protocol.md.
import assert from "node:assert/strict";
import { jetstream } from "@nats-io/jetstream";
import { connect, createInbox, headers } from "@nats-io/transport-node";
import { partition } from "./partition.mjs";
import { token } from "./token.mjs";

const url = new URL(process.env.NATS_URL);
const connection = await connect({
  servers: url.host,
  user: url.username || undefined,
  pass: url.password || undefined,
  inboxPrefix: "_INBOX.acme",
});
const js = jetstream(connection);
const run = `js-${process.pid}-${Date.now()}`;

function headed(lines) {
  const h = headers();
  for (const [name, value] of Object.entries(lines)) h.set(name, value);
  return h;
}

function subject(kind, key, method, front = "cmd") {
  return `${front}.acme.${kind}.${token(key)}.${method}`;
}

async function ask(kind, key, method, args, lines = {}) {
  const inbox = createInbox("_INBOX.acme");
  const replies = connection.subscribe(inbox, { max: 1, timeout: 20_000 });
  const body = args === undefined ? "" : JSON.stringify(args);
  await js.publish(subject(kind, key, method), body, { headers: headed({ "Troupe-Reply": inbox, ...lines }) });
  for await (const reply of replies) return reply.json();
}

async function call(kind, key, method, args, lines = {}) {
  const body = args === undefined ? "" : JSON.stringify(args);
  return await connection.request(subject(kind, key, method, "call"), body, {
    timeout: 20_000,
    headers: headed(lines),
  });
}

async function service(name, request = {}) {
  const message = await connection.request(`svc.${name}`, JSON.stringify(request), { timeout: 20_000 });
  return message.json().result;
}

async function commandsAndRepeats() {
  const key = `é.* > 'a'!()${run}`;
  const first = await ask("counter", key, "add", { amount: 2 }, { "Troupe-Id": `${run}-1` });
  assert.deepEqual(first, { id: `${run}-1`, seq: 1, result: 2 });
  const again = await ask("counter", key, "add", { amount: 2 }, { "Troupe-Id": `${run}-1` });
  assert.deepEqual(again, { ...first, repeated: true });
  const other = await ask("counter", key, "add", { amount: 3 }, { "Troupe-Id": `${run}-1` });
  assert.equal(other.error.code, "id_reused");
  const refused = await ask("counter", key, "take", { amount: 9 });
  assert.deepEqual([refused.error.code, refused.error.details], ["rejected", { left: 2 }]);
  const mistyped = await ask("counter", key, "add", { amount: "2" });
  assert.deepEqual([mistyped.error.code, mistyped.error.path], ["invalid_arguments", "$.amount"]);
}

async function manyWithOneInbox() {
  const inbox = createInbox("_INBOX.acme");
  const replies = connection.subscribe(inbox, { timeout: 20_000 });
  const expected = new Set();
  for (let n = 0; n < 500; n++) {
    const id = `${run}-many-${n}`;
    expected.add(id);
    const lines = headed({ "Troupe-Reply": inbox, "Troupe-Reply-Mode": "batch", "Troupe-Id": id });
    connection.publish(subject("counter", `many${n % 10}`, "add"), '{"amount":1}', { headers: lines });
  }
  let messages = 0;
  for await (const message of replies) {
    messages += 1;
    for (const reply of message.json()) {
      assert.equal(reply.error, undefined);
      assert.ok(expected.delete(reply.id), `${reply.id} came twice`);
    }
    if (expected.size === 0) break;
  }
  assert.ok(messages < 500, "no two replies shared a message");
}

async function theCallFrontAndQueries() {
  const key = `front-${run}`;
  assert.equal((await call("counter", key, "add", { amount: 5 })).json().result, 5);
  assert.equal((await call("counter", key, "value")).json().result, 5);
  const failed = await call("nobody", key, "add", { amount: 5 });
  assert.equal(failed.json().error.code, "unknown_kind");
  assert.equal(failed.headers.get("Nats-Service-Error-Code"), "404");
  const { partitions } = await service("info");
  const lane = partition("acme", "counter", token(key), partitions);
  const asked = await connection.request(`q.${lane}.acme.counter.${token(key)}.value`, "", { timeout: 20_000 });
  assert.equal(asked.json().result, 5);
  const found = (await connection.request("$SRV.INFO.troupe", "", { timeout: 20_000 })).json();
  assert.equal(found.endpoints[0].subject, "call.*.*.*.*");
}

async function capabilities() {
  const counter = (await service("capabilities")).find((one) => one.kind === "counter");
  const add = counter.methods.find((one) => one.name === "add");
  assert.equal(add.arguments.$defs.Add.properties.amount.type, "integer");
}

async function sessions() {
  const session = `Zimmer 1 – ${run}`;
  const subject = `acme.${token(session)}`;
  const intent = { kind: "counter", key: `s-${run}`, method: "add", args: { amount: 7 }, id: `${run}-intent` };
  await js.publish(`intent.${subject}`, JSON.stringify(intent));
  const consumer = await js.consumers.get("EV", { filter_subjects: [`ev.${subject}`] });
  const seen = [];
  for await (const message of await consumer.consume()) {
    seen.push(message.json());
    if (seen.length === 2) break;
  }
  assert.deepEqual(
    seen.map((fact) => [fact.type, fact.name, fact.command, fact.seq, fact.data]),
    [
      ["event", "Added", `${run}-intent`, 1, { amount: 7 }],
      ["result", "add", `${run}-intent`, 1, 7],
    ],
  );
  const { facts } = await service("session", { tenant: "acme", session });
  assert.equal(facts[0].position, seen[0].position);
}

for (const step of [commandsAndRepeats, manyWithOneInbox, theCallFrontAndQueries, capabilities, sessions]) {
  await step();
  console.log(`${step.name}: holds`);
}
await connection.close();
