// Runs an agent by the official client, which checks the order of events, and prints what it made of them.
// node follow.mjs URL THREAD RUN TEXT
import { HttpAgent } from "@ag-ui/client";

const [url, threadId, runId, text] = process.argv.slice(2);
const agent = new HttpAgent({ url, threadId });
agent.messages = [{ id: "u1", role: "user", content: text }];
const types = [];
await agent.runAgent({ runId }, { onEvent: ({ event }) => { types.push(event.type); } });
console.log(JSON.stringify({ types, messages: agent.messages, state: agent.state }));
