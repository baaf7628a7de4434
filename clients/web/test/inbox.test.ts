import { describe, expect, it } from "vitest";

import { Inbox, type Delivery } from "../src/inbox.js";
import { eventOf, isCreation, type Message, type Update } from "../src/index.js";
import { created, updates, VERSIONS } from "./samples.js";

const USERS = ["usr_qk2ddpnx", "usr_e86m1drv", "usr_zzzz1111"];

const messages = (deliveries: Delivery[]): Message[] =>
  deliveries.flatMap(([event, value]) => (event === "message:new" ? [value as Message] : []));
const of = (version: string, user: string): Update[] => updates(version).filter(({ userId }) => userId === user);

describe.each(VERSIONS)("Chat3 %s", (version) => {
  it("makes one message of each creation, whatever goes with it", () => {
    for (const user of USERS) {
      const inbox = new Inbox(5_000);
      const own = of(version, user);
      const creations = own.filter(isCreation);
      const shown = messages(own.flatMap((update) => inbox.update(update)));
      expect(shown.length).toBe(creations.length);
      expect(shown.length).toBeGreaterThan(0);
      expect(new Set(shown.map(({ id }) => id)).size).toBe(shown.length);
      for (const message of shown) {
        expect(message).toMatchObject({ via: "update", senderId: expect.stringMatching(/^usr_/) });
        expect(message.content).not.toBe("");
        expect(message.dialogId).not.toBe("");
        expect(messages(inbox.update(creations.find(({ entityId }) => message.ids.includes(entityId))))).toEqual([]);
      }
    }
  });

  it("shows a message once when both paths bring it, in either order", () => {
    const answers = created(version);
    expect(answers.length).toBeGreaterThan(0);
    for (const first of ["legacy", "update"] as const) {
      const inbox = new Inbox(5_000);
      const own = of(version, USERS[0]!).filter(isCreation);
      const fromUpdates = () => messages(own.flatMap((update) => inbox.update(update)));
      const fromRooms = () => messages(answers.flatMap(({ data }) => inbox.legacy(data)));
      const shown = first === "legacy" ? [...fromRooms(), ...fromUpdates()] : [...fromUpdates(), ...fromRooms()];
      const ids = new Set(answers.map(({ data }) => data["messageId"] ?? data["_id"]));
      const all = new Set([...shown.flatMap(({ ids }) => ids)]);
      for (const id of ids) expect(all.has(id as string) || first === "update").toBe(true);
      // Every answer has its update: nothing is left that only one path brought.
      expect(shown.length).toBe(own.length);
    }
  });

  it("gives both copies the same name, content and sender", () => {
    const [rooms, queues] = [new Inbox(5_000), new Inbox(5_000)];
    const own = of(version, USERS[0]!).filter(isCreation);
    const second = messages(own.flatMap((update) => queues.update(update)));
    for (const { data, dialogId } of created(version)) {
      rooms.posted(data, dialogId);
      const [legacy] = messages(rooms.legacy(data));
      const twin = second.find(({ ids }) => ids.some((id) => legacy!.ids.includes(id)));
      expect(twin, `twin of ${legacy!.id}`).toBeDefined();
      expect(legacy!.senderId).toBe(twin!.senderId);
      // Long texts are shortened in the samples of answers.
      if (!legacy!.content.startsWith("<x repeated")) expect(legacy!.content).toBe(twin!.content);
      expect(legacy!.dialogId).toBe(dialogId);
      if (twin!.createdAt !== null) expect(legacy!.createdAt).toBe(twin!.createdAt);
    }
  });

  it("has a word for every Update, and gives each once", () => {
    for (const user of USERS) {
      const inbox = new Inbox(5_000);
      for (const update of of(version, user)) {
        const told = inbox.update(update);
        expect(told[0], eventOf(update)).toEqual(["update", update]);
        expect(told.some(([event]) => event === "error")).toBe(false);
        if (eventOf(update) !== "dialog.typing") expect(told.length, eventOf(update)).toBe(2);
        expect(inbox.update(structuredClone(update))).toEqual([]);
      }
    }
  });
});

describe("what Updates become", () => {
  const kinds = (version: string, event: string) =>
    updates(version)
      .filter((update) => eventOf(update) === event)
      .flatMap((update) => new Inbox(10).update(update).slice(1));

  it("names changes of a message alike in all versions", () => {
    for (const [version, event, what] of [
      ["95f9355", "message.update", "content"],
      ["b082001", "message.changed", "content"],
      ["95f9355", "message.reaction.add", "reaction"],
      ["b082001", "message.reaction.changed", "reaction"],
      ["95f9355", "message.status.update", "status"],
    ] as const) {
      const found = kinds(version, event).filter(([name]) => name === "message:update");
      expect(found.length, event).toBeGreaterThan(0);
      for (const [, value] of found) expect(value).toMatchObject({ what, messageId: expect.stringMatching(/^msg_/) });
    }
  });

  it("tells of members", () => {
    for (const version of VERSIONS) {
      const found = kinds(version, "dialog.member.add").filter(([name]) => name === "dialog:update");
      expect(found.length, version).toBeGreaterThan(0);
      for (const [, value] of found) expect((value as { dialogId: string }).dialogId).not.toBe("");
    }
  });

  it("tells the counts that go with a message apart from the message", () => {
    const found = kinds("b082001", "message.create");
    const counters = found.filter(([name]) => name === "counters");
    expect(counters.length).toBe(36);
    expect(counters.some(([, value]) => (value as { unreadCount: number | null }).unreadCount !== null)).toBe(true);
    expect(counters.some(([, value]) => (value as { totalUnreadCount: number | null }).totalUnreadCount !== null)).toBe(true);
    expect(found.filter(([name]) => name === "message:new").length).toBe(21);
  });

  it("refuses what is no Update, and goes on", () => {
    const inbox = new Inbox(10);
    for (const bad of [null, 1, "x", [], {}, { data: {} }, { eventType: "message.create", data: null }]) {
      expect(inbox.update(bad)[0]?.[0]).toBe("error");
    }
    expect(inbox.legacy(null)[0]?.[0]).toBe("error");
    expect(messages(inbox.legacy({ messageId: "msg_1" }))).toHaveLength(1);
  });
});

describe("memory", () => {
  it("keeps one name for a message that two paths name differently", () => {
    const inbox = new Inbox(10);
    inbox.posted({ messageId: "msg_1", _id: "aa", dialogId: { _id: "bb" } }, "dlg_1");
    const update = { eventType: "message.create", entityId: "aa", eventId: "e", userId: "u", tenantId: "t", data: { _id: "aa", dialogId: "bb" } };
    expect(messages(inbox.update(update))).toMatchObject([{ id: "msg_1", dialogId: "dlg_1" }]);
    expect(messages(inbox.legacy({ messageId: "msg_1", _id: "aa" }))).toEqual([]);
  });

  it("keeps the last message's id, and is bounded", () => {
    const inbox = new Inbox(3);
    for (let n = 0; n < 10; n++) inbox.legacy({ messageId: `msg_${n}` });
    expect(inbox.last).toBe("msg_9");
    expect(messages(inbox.legacy({ messageId: "msg_9" }))).toEqual([]);
    expect(messages(inbox.legacy({ messageId: "msg_0" }))).toHaveLength(1);
  });
});
