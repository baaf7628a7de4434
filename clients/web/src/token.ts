/** Longest wait of a timer, in ms. */
const LONGEST = 2 ** 31 - 1;

/** When a JWT ends, in ms since the epoch; null where it does not say. It is not checked: the bridge does that. */
export function expiry(token: string): number | null {
  try {
    const part = token.split(".")[1] ?? "";
    const claims: unknown = JSON.parse(atob(part.replaceAll("-", "+").replaceAll("_", "/")));
    const exp = (claims as { exp?: unknown }).exp;
    return typeof exp === "number" ? exp * 1_000 : null;
  } catch {
    return null;
  }
}

/** In how many ms a token should be renewed: after four fifths of what is left of it. */
export function renewal(token: string, now: number): number | null {
  const end = expiry(token);
  return end === null ? null : Math.min(LONGEST, Math.max(500, (end - now) * 0.8));
}
