import { Memory } from "./memory.js";
import * as read from "./read.js";
import type { Events, Message, Update } from "./types.js";

/** What becomes of one thing that came. */
export type Delivery = { [K in keyof Events]: [K, Events[K]] }[keyof Events];

interface Known {
  id: string;
  shown: boolean;
}

/** Everything that comes goes through here: one shape, once. */
export class Inbox {
  readonly #messages: Memory<Known>;
  readonly #updates: Memory<true>;
  readonly #dialogs: Memory<string>;
  #last: string | null = null;

  constructor(remember: number, dialogIds: Readonly<Record<string, string>> = {}) {
    this.#messages = new Memory(remember);
    this.#updates = new Memory(remember);
    this.#dialogs = new Memory(remember);
    for (const [from, to] of Object.entries(dialogIds)) this.#dialogs.set(from, to);
  }

  /** Id of the last message that came: where to resume from. */
  get last(): string | null {
    return this.#last;
  }

  /** `dlg_` id of a dialog. */
  dialog(id: string): string {
    return this.#dialogs.get(id) ?? id;
  }

  /** An event `message:new`. */
  legacy(data: unknown): Delivery[] {
    return this.#message(read.message(data, "message:new"));
  }

  /** An event `update`. */
  update(value: unknown): Delivery[] {
    if (!read.isUpdate(value)) return [["error", { event: "update", error: "not an Update" }]];
    if (read.isCreation(value)) {
      const shown = this.#message(read.created(value));
      return shown.length === 0 ? [] : [["update", value], ...shown];
    }
    const key = read.updateKey(value);
    if (this.#updates.get(key)) return [];
    this.#updates.set(key, true);
    return [["update", value], ...this.#other(value)];
  }

  /** Chat3's answer to a message of this client's own: its names are known from now on. */
  posted(data: unknown, dialogId: string): Message | null {
    const message = read.message(data, "post");
    if (message === null) return null;
    const given = read.dialogOf(message.raw["dialogId"]);
    if (given !== null && given !== dialogId) this.#dialogs.set(given, dialogId);
    return { ...message, ...this.#known(message, false), dialogId };
  }

  #message(message: Message | null): Delivery[] {
    if (message === null) return [["error", { event: "message:new", error: "a message without an id" }]];
    // In the words of what came: the bridge knows it by these.
    this.#last = message.id;
    const shown = message.ids.some((id) => this.#messages.get(id)?.shown);
    const known = this.#known(message, true);
    return shown ? [] : [["message:new", { ...message, ...known, dialogId: this.dialog(message.dialogId) }]];
  }

  /** One name for a message, whichever of its ids come with which copy. */
  #known(message: Message, shown: boolean): { id: string } {
    const before = message.ids.map((id) => this.#messages.get(id)).find((known) => known !== undefined);
    const known = before ?? { id: message.id, shown };
    known.shown ||= shown;
    for (const id of message.ids) this.#messages.set(id, known);
    return { id: known.id };
  }

  #other(update: Update): Delivery[] {
    const found = read.read(update);
    switch (found?.[0]) {
      case undefined:
        return [];
      case "message:update": {
        const [event, value] = found;
        const messageId = this.#messages.get(value.messageId)?.id ?? value.messageId;
        const dialogId = value.dialogId === null ? null : this.dialog(value.dialogId);
        return [[event, { ...value, messageId, dialogId }]];
      }
      case "dialog:update":
        return [[found[0], { ...found[1], dialogId: this.dialog(found[1].dialogId) }]];
      case "typing":
        // The connection keeps who types.
        return [];
      default:
        return [found as Delivery];
    }
  }
}
