// Browser client of updates-bridge: one event interface for every stage and every Chat3 form.

import { Client } from "./client.js";
import type { Options } from "./types.js";

export { Client };
export { BridgeError, MembershipError, TimeoutError } from "./errors.js";
export { eventOf, isCreation, typeOf } from "./read.js";
export type * from "./types.js";

/** Connects, and goes on connecting until it is closed. A token alone is for a bridge at the page's own origin. */
export function connect(options: Options | string = {}): Client {
  return new Client(typeof options === "string" ? { token: options } : options);
}
