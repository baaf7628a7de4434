// What the client takes and gives, as types.

/** An Update of Chat3 until 2026-05. */
export interface EventUpdate {
  tenantId: string;
  /** The recipient. */
  userId: string;
  entityId: string;
  eventId: string;
  /** `message.create`, `dialog.member.add`, … */
  eventType: string;
  data: Record<string, unknown>;
  createdAt?: string;
  dialogId?: string;
}

/** An Update of Chat3 since 2026-05: one event can make up to three of them for a user. */
export interface SourcedUpdate {
  tenantId: string;
  /** The recipient. */
  userId: string;
  entityId: string;
  eventId: string;
  /** `message.create`, `message.changed`, … */
  sourceEventType: string;
  updateType: "update.message" | "update.dialog" | "update.user" | (string & {});
  data: Record<string, unknown>;
  createdAt?: string;
}

/** An Update as it came, in the form of whichever Chat3 made it. */
export type Update = EventUpdate | SourcedUpdate;

/** A message in one shape, whatever path and Chat3 it came by. */
export interface Message {
  /** `messageId` where it is known, else `_id`. Stays the same for one message. */
  id: string;
  /** Every id that it goes by. */
  ids: readonly string[];
  /** The `dlg_` id where it is known, else what Chat3 gave (a Mongo id on 2025-11-05). */
  dialogId: string;
  senderId: string;
  content: string;
  /** As Chat3 names it: `text`, `internal.text`, … */
  type: string;
  /** ms since the epoch; null where Chat3 left it out. */
  createdAt: number | null;
  meta: Record<string, unknown>;
  quotedMessage: Record<string, unknown> | null;
  senderInfo: Record<string, unknown> | null;
  /** By which path it came first; `post`: the answer to {@link Client.send}. */
  via: "message:new" | "update" | "post";
  /** As it came. */
  raw: Record<string, unknown>;
}

/** Something about a message that is there already: its text, a reaction, a status. */
export interface MessageUpdate {
  /** Chat3's event, e.g. `message.reaction.update`. */
  event: string;
  what: "content" | "reaction" | "status" | "deleted" | "other";
  messageId: string;
  dialogId: string | null;
  /** `data.message`, or `data` where there is none. */
  message: Record<string, unknown>;
  update: Update;
}

/** Something about a dialog or its members. */
export interface DialogUpdate {
  event: string;
  dialogId: string;
  /** Whom it is about, where it is about one member. */
  memberId: string | null;
  data: Record<string, unknown>;
  update: Update;
}

/** Something about a user. */
export interface UserUpdate {
  event: string;
  userId: string;
  data: Record<string, unknown>;
  update: Update;
}

/** Counts that changed with something else: the companions that a message has since 2026. */
export interface Counters {
  /** What made them change. */
  event: string;
  dialogId: string | null;
  /** Unread messages of the dialog, where it is said. */
  unreadCount: number | null;
  /** Unread messages of the user, where it is said. */
  totalUnreadCount: number | null;
  update: Update;
}

/** Somebody types, or no longer does. */
export interface Typing {
  dialogId: string;
  userId: string;
  userName: string | null;
  active: boolean;
}

/** A gap that the bridge could not fill: reload what is shown over REST. Rooms are joined again by then. */
export interface Resync {
  reason:
    | "broker_lost"
    | "queue_lost"
    | "late_queue"
    | "slow_client"
    | "resume_failed"
    | "relay_lost"
    | (string & {});
  /** ISO-8601: the last moment that is known to be whole. */
  since: string;
}

export type State = "connecting" | "online" | "reconnecting" | "unauthorized" | "closed";

export interface Status {
  state: State;
  /** Who the bridge takes this client for, while it is online. */
  userId: string | null;
  /** Whether the user's queue is live; `bridge:resync` follows when it becomes so later. */
  ready: boolean;
  /** Whether a lost connection was taken up again without a gap. */
  recovered: boolean;
  /** Why it is not online. */
  error: string | null;
}

/** A room that could not be joined again after a reconnect. */
export interface JoinFailed {
  dialogId: string;
  error: string;
}

/** What went wrong where nobody waits for an answer. */
export interface Fault {
  /** The event that was refused, or `token`. */
  event: string;
  error: string;
}

export interface Events {
  "message:new": Message;
  "message:update": MessageUpdate;
  "dialog:update": DialogUpdate;
  "user:update": UserUpdate;
  counters: Counters;
  typing: Typing;
  /** Every Update as it came, once; in stages `live` and `complete`. */
  update: Update;
  "bridge:resync": Resync;
  status: Status;
  "join:failed": JoinFailed;
  error: Fault;
}

export interface Outgoing {
  content: string;
  type?: string;
  meta?: Record<string, unknown>;
  quotedMessageId?: string;
}

export interface Options {
  /** Where the bridge is; the page's own origin by default. */
  url?: string;
  /** A token for as long as it lasts. */
  token?: string;
  /** Gives a token at every connect, and a new one before the last one ends. */
  getToken?: () => string | Promise<string>;
  /** Who this is, for a bridge with `auth.mode = "trusted"`, which takes no token. */
  userId?: string;
  /** Update types to be sent, e.g. `["message", "dialog"]`; all by default. */
  subscribe?: readonly string[];
  /** `dlg_` ids by Mongo ids, for a Chat3 of 2025-11-05; those of own messages are learnt. */
  dialogIds?: Readonly<Record<string, string>>;
  /** Socket.IO's path; `/socket.io/` by default. */
  path?: string;
  /** Socket.IO's transports, in order; polling first by default. */
  transports?: ("polling" | "websocket")[];
  /** How long an answer is waited for, in ms; 15,000 by default. */
  timeout?: number;
  /** How many messages and updates are remembered, so that a second copy is dropped; 5,000 by default. */
  remember?: number;
}
