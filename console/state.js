// What is known at the moment: of this instance by its stream, of the fleet by asking.

import * as api from "./api.js";

export const STAGES = ["legacy", "shadow", "live", "complete"];

export const state = {
  /** `{status, flag, summary}` of the latest moment; null before the first. */
  now: null,
  /** When it came, ms. */
  at: 0,
  /** The stream is there. */
  up: false,
  /** Why it is not. */
  why: "connecting",
  /** `{nodes, agreed, verdict}`; null where this instance does not speak for a fleet. */
  fleet: null,
  /** `{kind, text}`: said above everything until it is dismissed. */
  notice: null,
};

const watchers = new Set();

/** Called after every change, at once for the first time; returns what ends it. */
export function watch(watcher) {
  watchers.add(watcher);
  watcher();
  return () => watchers.delete(watcher);
}

const changed = () => watchers.forEach((watcher) => watcher());

/** Says something above everything; `kind` is `good`, `warn` or `bad`, null takes it away. */
export function tell(kind, text) {
  state.notice = kind && { kind, text };
  changed();
}

export function start() {
  const take = (event, data) => {
    if (event !== "now") return;
    Object.assign(state, { now: data, at: Date.now(), up: true });
    changed();
  };
  const connection = (up, why) => {
    Object.assign(state, { up: up && state.now !== null, why: why ?? null });
    changed();
  };
  api.follow("live", take, connection, 5_000, new AbortController().signal);
  void fleet();
}

async function fleet() {
  for (;;) {
    // An instance that knows of no other is all there is.
    if (state.now?.status.nodes?.length) {
      try {
        state.fleet = await api.get("fleet");
      } catch {
        state.fleet = null;
      }
      changed();
    }
    await new Promise((resolve) => setTimeout(resolve, state.now ? 2_000 : 100));
  }
}

/** Every node with its status; this instance alone where there is no fleet. */
export function nodes() {
  if (state.fleet?.nodes?.length) return state.fleet.nodes;
  return state.now ? [{ node: location.host, reachable: state.up, ...state.now.status }] : [];
}

export const isFleet = () => (state.fleet?.nodes?.length ?? 0) > 1;

/** Whether those that answer have different stages or rollouts; one that is still moving is no disagreement. */
export function disagree() {
  const given = nodes().filter(({ reachable }) => reachable).map(({ stage, rollout }) => JSON.stringify([stage, rollout]));
  return new Set(given).size > 1;
}

/** Said where a page is of one instance of several. */
export const ofThisInstance = (what = "") => (isFleet() ? `Of this instance, ${state.now?.status.instance ?? ""}. ${what}` : "");

/** The verdict of all nodes together. */
export const verdict = () => (isFleet() && state.fleet.verdict) || state.now?.summary.verdict || null;

export const nextStage = () => STAGES[STAGES.indexOf(state.now?.flag.stage) + 1];

/** Who acts, remembered for this tab. */
export const actor = {
  get: () => sessionStorage.getItem("actor") ?? "",
  set: (name) => sessionStorage.setItem("actor", name),
};

/** To legacy, on every node that answers. */
export function rollBack(reason) {
  const body = { actor: actor.get() || "console", reason: reason || "rollback from the console" };
  // Whether there are others is the instance's to know: this one goes first, and alone where there is none.
  return api.call("POST", "fleet/rollback", body);
}
