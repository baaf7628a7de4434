import { readFileSync } from "node:fs";

import type { Update } from "../src/index.js";

const root = new URL("../../../tests/samples/", import.meta.url);

export const VERSIONS = ["e25375c", "d9f2237", "95f9355", "b082001"] as const;

const text = (path: string) => readFileSync(new URL(path, root), "utf8");

/** Every Update that a version published, in order, once each. */
export function updates(version: string): Update[] {
  const lines = text(`${version}/all.amqp.jsonl`).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const bodies: string[] = lines.filter((line) => line.exchange === "chat3_updates").map((line) => line.bodyRaw);
  return [...new Set(bodies)].map((body) => JSON.parse(body));
}

export interface Created {
  dialogId: string;
  data: Record<string, unknown>;
}

/** Chat3's answers to createMessage, with the dialog of the request. */
export function created(version: string): Created[] {
  const calls = JSON.parse(text(`${version}/http.all.json`));
  const list: { method: string; path: string; status: number; response: { data: Record<string, unknown> } }[] =
    Array.isArray(calls) ? calls : calls.exchanges;
  const found: Created[] = [];
  for (const { method, path, status, response } of list) {
    const dialogId = /^\/dialogs\/([^/]+)\/messages$/.exec(path)?.[1];
    if (method === "POST" && status === 201 && dialogId !== undefined) found.push({ dialogId, data: response.data });
  }
  return found;
}
