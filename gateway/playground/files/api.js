// What the page asks of its gateway: plain calls, and a session's stream that goes on where it was cut off.

const KEY = "troupe.key";
const LONGEST_PAUSE_MS = 8000;

export class Failed extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

async function failure(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error ?? {};
  return new Failed(error.code ?? "failed", error.message ?? `the gateway answered ${response.status}`, response.status);
}

/** One call; gives what the answer's JSON says. Throws Failed. */
export async function call(method, path, body) {
  const options = { method, headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }) };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Failed("unavailable", "the gateway cannot be reached: is it running?", 0);
  }
  if (!response.ok) throw await failure(response);
  return response.json();
}

/** Lines of JSON from a response, one value at a time. */
async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) yield JSON.parse(part);
  }
}

/** All lines of one answer. Throws Failed. */
export async function* read(path) {
  const response = await fetch(path, { headers: headers({ Accept: "application/x-ndjson" }) });
  if (!response.ok) throw await failure(response);
  yield* lines(response);
}

/**
 * Follows a session until `signal` aborts: `entry` gets each line, `state` gets "live", "lost" or "refused".
 * After an interruption it goes on behind the last id that it saw, at any gateway.
 */
export async function follow(session, { entry, state, signal }) {
  let last = 0;
  let pause = 250;
  while (!signal.aborted) {
    try {
      const options = { headers: headers({ Accept: "application/x-ndjson" }), signal };
      const response = await fetch(`/stream/${encodeURIComponent(session)}?since=${last}`, options);
      if (!response.ok) throw await failure(response);
      state("live");
      pause = 250;
      for await (const line of lines(response)) {
        if (line.id !== undefined) last = line.id;
        entry(line);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403 || error.status === 400) {
        state("refused", error);
        return;
      }
    }
    if (signal.aborted) return;
    state("lost");
    await new Promise((go) => setTimeout(go, pause));
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}
