import { io, type Socket } from "socket.io-client";

import { Emitter } from "./emitter.js";
import { BridgeError, failure, TimeoutError } from "./errors.js";
import { Inbox, type Delivery } from "./inbox.js";
import * as read from "./read.js";
import { Selection } from "./selection.js";
import { renewal } from "./token.js";
import type { Events, Message, Options, Outgoing, Resync, State, Status } from "./types.js";
import { TypingOthers, TypingOwn } from "./typing.js";

/** First and longest wait before a refused client tries again with a new token, in ms. */
const RETRY = 1_000;
const LONGEST_RETRY = 30_000;
/** A POST may take as long as the bridge waits for Chat3, and a bit. */
const POST_TIMEOUT = 35_000;

type Timer = ReturnType<typeof setTimeout>;

/** One user's connection to the bridge. */
export class Client extends Emitter<Events> {
  readonly #options: Options;
  readonly #timeout: number;
  readonly #socket: Socket;
  readonly #inbox: Inbox;
  readonly #rooms = new Set<string>();
  readonly #selection: Selection;
  readonly #others = new TypingOthers((typing) => this.emit("typing", typing));
  readonly #own = new TypingOwn((event, dialogId) => {
    if (this.#status.state === "online") this.#socket.volatile.emit(event, { dialogId });
  });
  #status: Status = { state: "connecting", userId: null, ready: false, recovered: false, error: null };
  #token: string | null;
  #resume: string | null = null;
  #greeted = false;
  #renewal: Timer | undefined;
  #retry: Timer | undefined;
  #tries = 0;
  /** Rooms and subscriptions are being restored. */
  #restored: Promise<void> = Promise.resolve();

  constructor(options: Options) {
    super();
    this.#options = options;
    this.#timeout = options.timeout ?? 15_000;
    this.#token = options.token ?? null;
    this.#inbox = new Inbox(options.remember ?? 5_000, options.dialogIds);
    this.#selection = new Selection(options.subscribe);
    const settings = {
      auth: (give: (auth: object) => void) => void this.#credentials().then(give, (error) => this.#noToken(error)),
      autoConnect: false,
      // Several clients of a page may be several users.
      forceNew: true,
      reconnectionDelayMax: 5_000,
      ...(options.path !== undefined && { path: options.path }),
      ...(options.transports !== undefined && { transports: options.transports }),
    };
    this.#socket = options.url === undefined ? io(settings) : io(options.url, settings);
    this.#listen();
    this.#socket.connect();
  }

  get status(): Status {
    return this.#status;
  }

  /** Rooms that are joined, and joined again after every reconnect. */
  get rooms(): readonly string[] {
    return [...this.#rooms];
  }

  /** Resolves once the client is online; rejects when it is refused, or not online in time (ms). */
  online(timeout: number = this.#timeout): Promise<Status> {
    const { state } = this.#status;
    if (state === "online") return Promise.resolve(this.#status);
    const isRefused = state === "unauthorized" && this.#options.getToken === undefined;
    if (state === "closed" || isRefused) return Promise.reject(new BridgeError(this.#status.error ?? state));
    return new Promise((resolve, reject) => {
      const off = this.on("status", (status) => {
        const refused = status.state === "unauthorized" && this.#options.getToken === undefined;
        if (status.state === "online") done(() => resolve(status));
        else if (refused || status.state === "closed") done(() => reject(new BridgeError(status.error ?? status.state)));
      });
      const timer = setTimeout(() => done(() => reject(new TimeoutError("not connected"))), timeout);
      const done = (end: () => void): void => {
        off();
        clearTimeout(timer);
        end();
      };
    });
  }

  /**
   * Sends a message and returns it as Chat3 took it. It comes as `message:new` too, with the same `id`. Nothing is sent
   * a second time by itself: without an answer it may have been accepted.
   */
  async send(dialogId: string, message: string | Outgoing): Promise<Message> {
    const body = { ...(typeof message === "string" ? { content: message } : message) };
    const { userId } = this.#options;
    const post = async (): Promise<Response> => {
      const token = this.#token ?? (userId === undefined ? await this.#fresh() : "");
      const url = `${(this.#options.url ?? "").replace(/\/+$/, "")}/api/messages/dialog/${encodeURIComponent(dialogId)}`;
      const headers = { "content-type": "application/json", ...(token !== "" && { authorization: `Bearer ${token}` }) };
      const init = { method: "POST", headers, body: JSON.stringify(userId === undefined ? body : { ...body, senderId: userId }) };
      try {
        return await fetch(url, { ...init, signal: AbortSignal.timeout(POST_TIMEOUT) });
      } catch (error) {
        throw new TimeoutError(error instanceof Error ? error.message : String(error));
      }
    };
    let answer = await post();
    // The bridge refused the token before it asked Chat3.
    if (answer.status === 401 && this.#options.getToken !== undefined) {
      this.#token = null;
      answer = await post();
    }
    const said: unknown = await answer.json().catch(() => null);
    const fields = read.isObject(said) ? said : {};
    if (!answer.ok) {
      const error = read.text(fields["error"]) ?? `HTTP ${answer.status}`;
      throw failure(error, answer.status, fields["details"] ?? null);
    }
    const sent = this.#inbox.posted(fields["data"], dialogId);
    if (sent === null) throw new BridgeError("an answer without a message", answer.status);
    return sent;
  }

  /** Joins a dialog's room, now and after every reconnect; {@link MembershipError} where that is refused. */
  async join(dialogId: string): Promise<void> {
    await this.online();
    this.#rooms.add(dialogId);
    try {
      await this.#call("dialog:join", dialogId);
    } catch (error) {
      // Without an answer it is tried again at the next connect.
      if (!(error instanceof TimeoutError)) this.#rooms.delete(dialogId);
      throw error;
    }
  }

  async leave(dialogId: string): Promise<void> {
    this.#rooms.delete(dialogId);
    if (this.#status.state === "online") await this.#call("dialog:leave", dialogId);
  }

  /** Asks for update types, e.g. `message`, `dialog`; without any, for all. Returns those that are sent. */
  async subscribe(...types: string[]): Promise<string[]> {
    return this.#select("subscribe", types);
  }

  /** Takes types away; without any, all. */
  async unsubscribe(...types: string[]): Promise<string[]> {
    return this.#select("unsubscribe", types);
  }

  /** Call it at every key that is typed: others are told, and told again when it ends. */
  typing(dialogId: string): void {
    this.#own.typed(dialogId);
  }

  stopTyping(dialogId: string): void {
    this.#own.stopped(dialogId);
  }

  /** A new token of the same user: before the old one ends, or after. */
  async setToken(token: string): Promise<void> {
    this.#token = token;
    if (this.#status.state === "online") await this.#renew(token);
    else this.#again();
  }

  close(): void {
    clearTimeout(this.#renewal);
    clearTimeout(this.#retry);
    this.#own.clear();
    this.#others.clear();
    this.#socket.disconnect();
    this.#become("closed", null);
    this.clear();
  }

  #listen(): void {
    const socket = this.#socket;
    socket.on("connect", () => {
      this.#greeted = false;
      if (this.#options.userId !== undefined) {
        socket.emit("authenticate", { userId: this.#options.userId, ...this.#declared() });
      }
    });
    socket.on("authenticated", (answer: unknown) => this.#authenticated(answer));
    socket.on("unauthorized", (answer: unknown) => {
      const error = read.isObject(answer) ? (read.text(answer["error"]) ?? "unauthorized") : "unauthorized";
      if (this.#status.state === "online") this.emit("error", { event: "authenticate", error });
      else if (this.#options.userId !== undefined) this.#denied(error);
      else this.#status = { ...this.#status, error };
    });
    socket.on("connect_error", (error) => {
      if (socket.active) this.#become(this.#greetedOnce() ? "reconnecting" : "connecting", error.message);
      else this.#denied(error.message);
    });
    socket.on("disconnect", (reason) => {
      clearTimeout(this.#renewal);
      if (reason === "io server disconnect") this.#denied(this.#status.error ?? "unauthorized");
      else if (reason !== "io client disconnect") this.#become("reconnecting", reason);
    });
    socket.on("message:new", (data: unknown) => this.#deliver(this.#inbox.legacy(data)));
    socket.on("update", (update: unknown) => this.#updated(update));
    socket.on("bridge:resync", (resync: Resync) => {
      // A page that reloads now has to hear what comes after: rooms first.
      void this.#restored.finally(() => this.emit("bridge:resync", resync));
    });
    socket.on("typing:start", (data: unknown) => this.#relayed(data, true));
    socket.on("typing:stop", (data: unknown) => this.#relayed(data, false));
    socket.on("error", (data: unknown) => {
      const fields = read.isObject(data) ? data : {};
      this.emit("error", { event: read.text(fields["event"]) ?? "", error: read.text(fields["error"]) ?? "" });
    });
  }

  #greetedOnce(): boolean {
    return this.#resume !== null;
  }

  #declared(): object {
    const resume = this.#resume === null ? undefined : { token: this.#resume, last: this.#inbox.last ?? undefined };
    const { named } = this.#selection;
    return { accepts: ["update"], ...(resume && { resume }), ...(named && { subscribe: named }) };
  }

  async #credentials(): Promise<object> {
    if (this.#options.userId !== undefined) return {};
    return { token: await this.#fresh(), ...this.#declared() };
  }

  /** The token to use now: a new one where the page gives them. */
  async #fresh(): Promise<string> {
    const { getToken } = this.#options;
    if (getToken !== undefined) this.#token = await getToken();
    return this.#token ?? "";
  }

  #noToken(error: unknown): void {
    this.#socket.disconnect();
    const text = error instanceof Error ? error.message : String(error);
    this.emit("error", { event: "token", error: text });
    this.#denied(text);
  }

  #authenticated(answer: unknown): void {
    const fields = read.isObject(answer) ? answer : {};
    this.#resume = read.text(fields["resume"]);
    this.#scheduleRenewal();
    if (this.#greeted) return;
    this.#greeted = true;
    this.#tries = 0;
    const recovered = fields["recovered"] === true;
    this.#restored = recovered ? Promise.resolve() : this.#restore();
    const userId = read.text(fields["userId"]);
    this.#show({ state: "online", userId, ready: fields["ready"] === true, recovered, error: null });
  }

  /** Rooms and subscriptions of before; none is waited for longer than an answer may take. */
  async #restore(): Promise<void> {
    const { without } = this.#selection;
    const calls: Promise<unknown>[] = [...this.#rooms].map((dialogId) =>
      this.#call("dialog:join", dialogId).catch((error: unknown) => {
        if (!(error instanceof TimeoutError)) this.#rooms.delete(dialogId);
        this.emit("join:failed", { dialogId, error: error instanceof Error ? error.message : String(error) });
      }),
    );
    if (without !== null) {
      calls.push(
        this.#call("unsubscribe", without).catch((error: unknown) =>
          this.emit("error", { event: "unsubscribe", error: String(error) }),
        ),
      );
    }
    await Promise.all(calls);
  }

  #scheduleRenewal(): void {
    clearTimeout(this.#renewal);
    const { getToken } = this.#options;
    const wait = this.#token === null || getToken === undefined ? null : renewal(this.#token, Date.now());
    if (wait === null) return;
    this.#renewal = setTimeout(() => {
      this.#fresh()
        .then((token) => this.#renew(token))
        .catch((error: unknown) => {
          this.emit("error", { event: "token", error: error instanceof Error ? error.message : String(error) });
          this.#renewal = setTimeout(() => this.#scheduleRenewal(), RETRY);
        });
    }, wait);
  }

  async #renew(token: string): Promise<void> {
    await this.#call("authenticate", { token });
    this.#scheduleRenewal();
  }

  /** Refused: with a new token it is tried again, less and less often. */
  #denied(error: string): void {
    this.#become("unauthorized", error);
    clearTimeout(this.#retry);
    if (this.#options.getToken === undefined) return;
    const wait = Math.min(LONGEST_RETRY, RETRY * 2 ** this.#tries);
    this.#tries += 1;
    this.#retry = setTimeout(() => this.#again(), wait);
  }

  #again(): void {
    if (this.#status.state === "closed" || this.#socket.connected) return;
    this.#become(this.#greetedOnce() ? "reconnecting" : "connecting", null);
    this.#socket.disconnect().connect();
  }

  async #select(event: "subscribe" | "unsubscribe", types: string[]): Promise<string[]> {
    await this.online();
    const answer = await this.#call(event, types.length === 0 ? null : types);
    this.#selection.change(event, types);
    return Array.isArray(answer["subscriptions"]) ? (answer["subscriptions"] as string[]) : [];
  }

  /** Sends an event and waits for its answer. */
  async #call(event: string, data: unknown): Promise<read.Fields> {
    const answer: unknown = await this.#socket
      .timeout(this.#timeout)
      .emitWithAck(event, data)
      .catch(() => {
        throw new TimeoutError(`no answer to ${event}`);
      });
    const fields = read.isObject(answer) ? answer : {};
    if (fields["ok"] !== true) throw failure(read.text(fields["error"]) ?? `${event} was refused`);
    return fields;
  }

  #updated(update: unknown): void {
    this.#deliver(this.#inbox.update(update));
    const found = read.isUpdate(update) ? read.read(update) : null;
    if (found?.[0] !== "typing") return;
    const { dialogId, userId, userName, expiresInMs } = found[1];
    this.#others.start(this.#inbox.dialog(dialogId), userId, userName, expiresInMs);
  }

  #relayed(data: unknown, active: boolean): void {
    const fields = read.isObject(data) ? data : {};
    const [dialogId, userId] = [read.text(fields["dialogId"]), read.text(fields["userId"])];
    if (dialogId === null || userId === null) return;
    if (active) this.#others.start(dialogId, userId, read.text(fields["userName"]), null);
    else this.#others.stop(dialogId, userId);
  }

  #deliver(deliveries: Delivery[]): void {
    for (const [event, value] of deliveries) this.emit(event, value as never);
  }

  #become(state: State, error: string | null): void {
    if (this.#status.state === "closed") return;
    this.#show({ state, userId: null, ready: false, recovered: false, error });
  }

  #show(status: Status): void {
    const before = this.#status;
    this.#status = status;
    if (before.state !== status.state || before.error !== status.error || status.state === "online") {
      this.emit("status", status);
    }
  }
}
