/** What this client asked to be sent, so that it can be asked for again. */
export class Selection {
  /** Named types; null: all but `#without`. */
  #named: Set<string> | null;
  readonly #without = new Set<string>();

  constructor(types?: readonly string[]) {
    this.#named = types === undefined || types.length === 0 ? null : new Set(types);
  }

  change(event: "subscribe" | "unsubscribe", types: readonly string[]): void {
    if (event === "subscribe") {
      if (types.length === 0) this.#named = null;
      else this.#named = new Set([...(this.#named ?? []), ...types]);
      this.#without.clear();
    } else if (types.length === 0) {
      this.#named = new Set();
      this.#without.clear();
    } else if (this.#named === null) {
      for (const type of types) this.#without.add(type);
    } else {
      for (const type of types) this.#named.delete(type);
    }
  }

  /** For the handshake: the named types; null where there is nothing to name. */
  get named(): string[] | null {
    return this.#named === null || this.#named.size === 0 ? null : [...this.#named];
  }

  /** What has to be taken away again after the handshake: types, an empty list for all, null for nothing. */
  get without(): string[] | null {
    if (this.#named !== null) return this.#named.size === 0 ? [] : null;
    return this.#without.size === 0 ? null : [...this.#without];
  }
}
