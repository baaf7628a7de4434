// Browser client of updates-bridge: one event interface for every stage and every Chat3 form.

import { Client } from "./client.js";
import type { Options } from "./types.js";

export { Client };
export { BridgeError, MembershipError, TimeoutError } from "./errors.js";
export { eventOf, isCreation, typeOf } from "./read.js";
export type * from "./types.js";

/** Connects, and goes on connecting until it is closed. */
export function connect(options: Options = {}): Client {
  return new Client(options);
}
