// Calls of the admin API. The token is kept for this tab only.

const LIMIT = 40_000;

export class ApiError extends Error {
  constructor(status, answer) {
    super(answer?.message ?? answer?.error ?? `HTTP ${status}`);
    this.status = status;
    this.answer = answer ?? {};
  }
}

let token = sessionStorage.getItem("token") ?? "";
let refused = () => {};

export const onRefused = (handler) => { refused = handler; };

export function signIn(given) {
  token = given;
  sessionStorage.setItem("token", given);
}

const headers = (body) => ({ ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }) });

export async function call(method, path, body) {
  const init = { method, headers: headers(body), body: body && JSON.stringify(body), signal: AbortSignal.timeout(LIMIT) };
  const response = await fetch(`admin/${path}`, init);
  const answer = await response.json().catch(() => null);
  if (response.status === 401) refused();
  if (!response.ok) throw new ApiError(response.status, answer);
  return answer;
}

export const get = (path) => call("GET", path);

export function query(path, pairs) {
  const given = Object.entries(pairs).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/**
 * Follows a stream of events until `signal`; EventSource can't send a token. `take(event, data)` for each, `state(up,
 * why)` when the stream comes or goes. Silence for longer than `silence` ms counts as gone.
 */
export async function follow(path, take, state, silence, signal) {
  while (!signal.aborted) {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    signal.addEventListener("abort", abort);
    let watch;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => attempt.abort(new Error(`nothing for ${silence / 1_000} s`)), silence);
    };
    try {
      alive();
      const response = await fetch(`admin/${path}`, { headers: headers(), signal: attempt.signal });
      if (response.status === 401) refused();
      if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => null));
      state(true);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new Error("the connection was closed");
        alive();
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) {
          const lines = event.split("\n");
          const of = (name) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).trim());
          const data = of("data").join("\n");
          if (data) take(of("event")[0] ?? "message", JSON.parse(data));
        }
      }
    } catch (error) {
      if (!signal.aborted) state(false, attempt.signal.reason?.message ?? error.message);
    } finally {
      clearTimeout(watch);
      signal.removeEventListener("abort", abort);
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}
