/** Typed handlers. One that throws harms no other. */
export class Emitter<E extends object> {
  readonly #handlers = new Map<keyof E, Set<(value: never) => void>>();

  /** Returns what takes the handler away again. */
  on<K extends keyof E>(event: K, handler: (value: E[K]) => void): () => void {
    const handlers = this.#handlers.get(event) ?? new Set();
    this.#handlers.set(event, handlers);
    handlers.add(handler);
    return () => void handlers.delete(handler);
  }

  once<K extends keyof E>(event: K, handler: (value: E[K]) => void): () => void {
    const off = this.on(event, (value) => {
      off();
      handler(value);
    });
    return off;
  }

  protected emit<K extends keyof E>(event: K, value: E[K]): void {
    for (const handler of [...(this.#handlers.get(event) ?? [])]) {
      try {
        (handler as (value: E[K]) => void)(value);
      } catch (error) {
        // It is the page's: reported as any error of a page is.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  protected clear(): void {
    this.#handlers.clear();
  }
}
