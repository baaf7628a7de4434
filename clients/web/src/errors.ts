/** The bridge or Chat3 refused, or did not answer in time. */
export class BridgeError extends Error {
  override readonly name: string = "BridgeError";

  constructor(
    message: string,
    /** HTTP status, where it was a POST. */
    readonly status: number | null = null,
    /** What Chat3 said in detail. */
    readonly details: unknown = null,
  ) {
    super(message);
  }
}

/** The user is not a member of the dialog, or there is no such dialog. */
export class MembershipError extends BridgeError {
  override readonly name = "MembershipError";
}

/** No answer in time, or no connection. */
export class TimeoutError extends BridgeError {
  override readonly name = "TimeoutError";
}

const MEMBERSHIP = ["not a member", "dialog not found"];

/** The error that an ack or an answer names. */
export function failure(error: string, status: number | null = null, details: unknown = null): BridgeError {
  const isMembership = MEMBERSHIP.includes(error.toLowerCase()) || (status === 403 && /member/i.test(error));
  return isMembership ? new MembershipError(error, status, details) : new BridgeError(error, status, details);
}
