import type { Typing } from "./types.js";

/** Between two `typing:start` for one dialog. */
const AGAIN = 3_000;
/** Nothing more typed for so long: stopped. */
const PAUSE = 5_000;
/** Somebody else counts as typing for so long, where nothing else is said. */
const EXPIRES = 10_000;

type Timer = ReturnType<typeof setTimeout>;

/** Who types, told once when it begins and once when it ends. */
export class TypingOthers {
  readonly #active = new Map<string, Timer>();

  constructor(private readonly tell: (typing: Typing) => void) {}

  start(dialogId: string, userId: string, userName: string | null, expiresInMs: number | null): void {
    const key = JSON.stringify([dialogId, userId]);
    const before = this.#active.get(key);
    clearTimeout(before);
    const end = () => this.stop(dialogId, userId);
    this.#active.set(key, setTimeout(end, Math.min(expiresInMs ?? EXPIRES, 60_000)));
    if (before === undefined) this.tell({ dialogId, userId, userName, active: true });
  }

  stop(dialogId: string, userId: string): void {
    const key = JSON.stringify([dialogId, userId]);
    const before = this.#active.get(key);
    if (before === undefined) return;
    clearTimeout(before);
    this.#active.delete(key);
    this.tell({ dialogId, userId, userName: null, active: false });
  }

  clear(): void {
    for (const timer of this.#active.values()) clearTimeout(timer);
    this.#active.clear();
  }
}

/** What this client types: call `typed` at every key. */
export class TypingOwn {
  readonly #open = new Map<string, { sent: number; timer: Timer }>();

  constructor(private readonly send: (event: "typing:start" | "typing:stop", dialogId: string) => void) {}

  typed(dialogId: string): void {
    const before = this.#open.get(dialogId);
    clearTimeout(before?.timer);
    const now = Date.now();
    const due = before === undefined || now - before.sent >= AGAIN;
    if (due) this.send("typing:start", dialogId);
    const timer = setTimeout(() => this.stopped(dialogId), PAUSE);
    this.#open.set(dialogId, { sent: due ? now : before.sent, timer });
  }

  stopped(dialogId: string): void {
    const before = this.#open.get(dialogId);
    if (before === undefined) return;
    clearTimeout(before.timer);
    this.#open.delete(dialogId);
    this.send("typing:stop", dialogId);
  }

  clear(): void {
    for (const { timer } of this.#open.values()) clearTimeout(timer);
    this.#open.clear();
  }
}
