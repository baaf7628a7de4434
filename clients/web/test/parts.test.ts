import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { Emitter } from "../src/emitter.js";
import { failure, MembershipError } from "../src/errors.js";
import { time } from "../src/read.js";
import { Selection } from "../src/selection.js";
import { expiry, renewal } from "../src/token.js";
import { TypingOthers, TypingOwn } from "../src/typing.js";

class Open extends Emitter<{ a: number }> {
  say(value: number) {
    this.emit("a", value);
  }
}

describe("emitter", () => {
  it("goes on when a handler throws, and takes handlers away", () => {
    const thrown = vi.spyOn(globalThis, "queueMicrotask").mockImplementation(() => {});
    const [open, got] = [new Open(), [] as number[]];
    open.on("a", () => {
      throw new Error("the page's");
    });
    const off = open.on("a", (value) => got.push(value));
    open.once("a", (value) => got.push(-value));
    open.say(1);
    off();
    open.say(2);
    expect(got).toEqual([1, -1]);
    expect(thrown).toHaveBeenCalledTimes(2);
    thrown.mockRestore();
  });
});

describe("times", () => {
  it("reads each form", () => {
    expect(time("2026-11-23T12:06:30.744Z")).toBe(Date.UTC(2026, 10, 23, 12, 6, 30, 744));
    expect(time("1795435554149.529053")).toBeCloseTo(1795435554149.529);
    expect(time(5)).toBe(5);
    expect(time("soon")).toBeNull();
    expect(time(undefined)).toBeNull();
  });
});

describe("tokens", () => {
  const token = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`;

  it("says when one ends", () => {
    expect(expiry(token({ exp: 100, name: "Ж?>" }))).toBe(100_000);
    expect(expiry(token({}))).toBeNull();
    expect(expiry("no token")).toBeNull();
    expect(renewal(token({ exp: 100 }), 0)).toBe(80_000);
    expect(renewal(token({ exp: 100 }), 200_000)).toBe(500);
    expect(renewal(token({ exp: 1e12 }), 0)).toBe(2 ** 31 - 1);
  });
});

describe("selection", () => {
  it("can be asked for again", () => {
    const selection = new Selection();
    expect([selection.named, selection.without]).toEqual([null, null]);
    selection.change("unsubscribe", ["typing"]);
    expect([selection.named, selection.without]).toEqual([null, ["typing"]]);
    selection.change("subscribe", ["message"]);
    expect([selection.named, selection.without]).toEqual([["message"], null]);
    selection.change("subscribe", ["dialog"]);
    selection.change("unsubscribe", ["message"]);
    expect([selection.named, selection.without]).toEqual([["dialog"], null]);
    selection.change("unsubscribe", []);
    expect([selection.named, selection.without]).toEqual([null, []]);
    selection.change("subscribe", []);
    expect([selection.named, selection.without]).toEqual([null, null]);
  });
});

describe("errors", () => {
  it("tells membership from the rest", () => {
    expect(failure("not a member")).toBeInstanceOf(MembershipError);
    expect(failure("Dialog not found", 404)).toBeInstanceOf(MembershipError);
    expect(failure("invalid type")).not.toBeInstanceOf(MembershipError);
  });
});

describe("typing", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("is told once when it begins and once when it ends", () => {
    const told: boolean[] = [];
    const others = new TypingOthers(({ active }) => told.push(active));
    others.start("d", "u", null, null);
    others.start("d", "u", null, 5_000);
    expect(told).toEqual([true]);
    vi.advanceTimersByTime(5_000);
    others.stop("d", "u");
    expect(told).toEqual([true, false]);
  });

  it("is sent now and then, and ends by itself", () => {
    const sent: string[] = [];
    const own = new TypingOwn((event) => sent.push(event));
    for (let key = 0; key < 8; key++) {
      own.typed("d");
      vi.advanceTimersByTime(1_000);
    }
    expect(sent).toEqual(["typing:start", "typing:start", "typing:start"]);
    vi.advanceTimersByTime(5_000);
    expect(sent.at(-1)).toBe("typing:stop");
    own.stopped("d");
    expect(sent.length).toBe(4);
  });
});
