// Reading of what Chat3 sends, in each of its forms.

import type { Counters, DialogUpdate, Message, MessageUpdate, Update, UserUpdate } from "./types.js";

export type Fields = Record<string, unknown>;

export const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
const number = (value: unknown): number | null => (typeof value === "number" ? value : null);
const object = (value: unknown): Fields => (isObject(value) ? value : {});

/** Whether this can be an Update at all. */
export function isUpdate(value: unknown): value is Update {
  return isObject(value) && isObject(value["data"]) && eventOf(value) !== "";
}

/** Chat3's event: `eventType`, since 2026 `sourceEventType`. */
export function eventOf(update: object): string {
  const fields = update as Fields;
  return text(fields["eventType"]) ?? text(fields["sourceEventType"]) ?? "";
}

/** `update.message`, `update.dialog`, `update.user`; null before 2026. */
export function typeOf(update: object): string | null {
  return text((update as Fields)["updateType"]);
}

/** Whether this Update is the message itself, and not what goes with it. */
export function isCreation(update: Update): boolean {
  return eventOf(update) === "message.create" && (typeOf(update) ?? "update.message") === "update.message";
}

/** What tells one Update from every other. */
export function updateKey(update: Update): string {
  return JSON.stringify([update.tenantId, update.eventId, update.userId, typeOf(update), update.entityId]);
}

/** ISO-8601, a number of ms, or such a number as text. */
export function time(value: unknown): number | null {
  if (typeof value === "number") return value;
  if (typeof value !== "string") return null;
  const ms = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Date.parse(value);
  return Number.isFinite(ms) ? ms : null;
}

/** A dialog's id: a text, or an object with Mongo ids. */
export function dialogOf(value: unknown): string | null {
  const fields = object(value);
  return text(value) ?? text(fields["dialogId"]) ?? text(fields["_id"]) ?? text(fields["id"]);
}

/** Reads Chat3's `data` of a message; null when it has no id. */
export function message(data: unknown, via: Message["via"], entityId?: string): Message | null {
  const fields = object(data);
  const named = [fields["messageId"], fields["_id"], fields["id"], entityId].map(text);
  const ids = [...new Set(named.filter((id) => id !== null))];
  const [id] = ids;
  if (id === undefined) return null;
  return {
    id,
    ids,
    dialogId: dialogOf(fields["dialogId"]) ?? "",
    senderId: text(fields["senderId"]) ?? "",
    content: text(fields["content"]) ?? "",
    type: text(fields["type"]) ?? "text",
    createdAt: time(fields["createdAt"]),
    meta: object(fields["meta"]),
    quotedMessage: isObject(fields["quotedMessage"]) ? fields["quotedMessage"] : null,
    senderInfo: isObject(fields["senderInfo"]) ? fields["senderInfo"] : null,
    via,
    raw: fields,
  };
}

/** The message of a creation. */
export function created(update: Update): Message | null {
  const { data } = update;
  return message(isObject(data["message"]) ? data["message"] : data, "update", update.entityId);
}

/** An Update that is no creation, in the client's words. */
export type Read =
  | ["message:update", MessageUpdate]
  | ["dialog:update", DialogUpdate]
  | ["user:update", UserUpdate]
  | ["counters", Counters]
  | ["typing", { dialogId: string; userId: string; userName: string | null; expiresInMs: number | null }]
  | null;

export function read(update: Update): Read {
  const [event, type, data] = [eventOf(update), typeOf(update), update.data];
  const [area = ""] = event.split(".");
  if (event === "dialog.typing") return typing(data, update);
  const isCompanion =
    event === "user.stats.update" ||
    (area === "message" && type !== null && type !== "update.message") ||
    (area === "dialog" && type === "update.user");
  if (isCompanion) return ["counters", counters(event, update)];
  if (area === "message") return ["message:update", changed(event, update)];
  if (area === "dialog") {
    const inner = object(data["dialog"]);
    const dialogId = dialogOf(inner) ?? dialogOf(data["dialogId"]) ?? dialogOf(data) ?? update.entityId;
    const memberId = event.startsWith("dialog.member") ? text(object(data["member"])["userId"]) : null;
    return ["dialog:update", { event, dialogId, memberId, data, update }];
  }
  if (area === "user") {
    const userId = text(object(data["user"])["userId"]) ?? text(data["userId"]) ?? update.entityId;
    return ["user:update", { event, userId, data, update }];
  }
  return null;
}

function typing(data: Fields, update: Update): Read {
  const what = object(data["typing"]);
  const userId = text(what["userId"]);
  const dialogId = dialogOf(data["dialogId"]) ?? dialogOf(data["dialog"]) ?? update.entityId;
  if (userId === null) return null;
  const info = object(what["userInfo"]);
  const userName = text(info["name"]) ?? text(object(info["meta"])["name"]);
  return ["typing", { dialogId, userId, userName, expiresInMs: number(what["expiresInMs"]) }];
}

function changed(event: string, update: Update): MessageUpdate {
  const { data } = update;
  const inner = isObject(data["message"]) ? data["message"] : data;
  const kinds: [string, MessageUpdate["what"]][] = [
    ["reaction", "reaction"],
    ["status", "status"],
    ["delete", "deleted"],
    ["update", "content"],
    ["changed", "content"],
  ];
  const what = kinds.find(([word]) => event.split(".").includes(word))?.[1] ?? "other";
  const messageId = text(inner["messageId"]) ?? text(inner["_id"]) ?? update.entityId;
  const dialogId = dialogOf(inner["dialogId"]) ?? dialogOf(object(data["dialog"])["dialogId"]);
  return { event, what, messageId, dialogId, message: inner, update };
}

function counters(event: string, update: Update): Counters {
  const { data } = update;
  const [dialog, user, member] = ["dialog", "user", "member"].map((name) => object(data[name]));
  return {
    event,
    dialogId: dialogOf(dialog?.["dialogId"]),
    unreadCount: number(object(dialog?.["stats"])["unreadCount"]) ?? number(object(member?.["state"])["unreadCount"]),
    totalUnreadCount: number(object(user?.["stats"])["totalUnreadCount"]),
    update,
  };
}
