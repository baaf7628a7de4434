// What a person in an incident looks at first.

import { count, dateTime, fill, h, percent, span } from "../dom.js";
import { isFleet, nodes, STAGES, state, verdict, watch } from "../state.js";

const rail = ({ stage, transition }) => h("ol.rail", { "aria-label": `stage ${stage}` }, STAGES.map((name) => {
  const classes = [name === stage && "on", transition?.to === name && name !== stage && "next"].filter(Boolean);
  return h(["li", ...classes].join("."), name === stage ? h("span", { "aria-current": "step" }, name) : name);
}));

const up = (is, words = ["up", "down"]) => h(is ? "span.good" : "span.bad", `${is ? "●" : "▲"} ${words[is ? 0 : 1]}`);

function node(node) {
  if (!node.reachable) {
    return h("section.card.node.bad-edge", h("h3", node.node), h("p.bad", `▲ does not answer: ${node.error ?? "lost"}`));
  }
  const { transition, guard = {}, rollout = {} } = node;
  const moves = transition
    && `${transition.from} → ${transition.to}: ${transition.phase}, ${transition.users_ready} of ${transition.users_total} users ready`;
  const value = node.verdict?.value ?? node.verdict ?? "–";
  const facts = {
    RabbitMQ: [up(node.broker?.up), node.broker?.blocked && h("span.bad", " blocked")],
    Chat3: up(node.chat3?.up),
    Guard: `${guard.mode ?? "–"}: ${guard.state ?? "–"}${guard.why ? ` (${guard.why})` : ""}`,
    Verdict: h(`span.verdict.${value}`, value),
    Rollout: describeRollout(rollout),
    Version: `${node.version ?? "–"}, started ${dateTime(node.started_at)}`,
  };
  const list = Object.entries(facts).map(([name, fact]) => h("div", h("dt", name), h("dd", fact)));
  return h("section.card.node", h("h3", node.instance ?? node.node, h("small", ` ${node.environment ?? ""} · ${node.node}`)),
    rail(node), moves && h("p.moving", moves), h("dl", list));
}

export function describeRollout({ percent: share = 100, allow = [], deny = [], tenants = [] }) {
  const parts = [`${share} %`];
  if (allow.length) parts.push(`${allow.length} allowed`);
  if (deny.length) parts.push(`${deny.length} denied`);
  if (tenants.length) parts.push(`tenants ${tenants.join(", ")}`);
  return parts.join(", ");
}

function judged(found) {
  if (!found) return h("p", "No verdict yet.");
  const bad = found.bad ?? 0;
  return [
    h("p.big", h(`span.verdict.${found.value}`, found.value)),
    h("p", found.says ? `${found.says}.` : `${count(found.messages)} messages compared, ${count(bad)} bad.`),
    found.messages && found.value !== "NOT_SAFE" ? h("p", `The rate of bad ones is below ${percent(found.upper_bound)}.`) : null,
    found.missing?.length ? [h("h3", "What is missing"), h("ul", found.missing.map((what) => h("li", what)))] : null,
    found.eta == null ? null : h("p", `Expected in ${span(found.eta)} at the present rate.`),
    bad > 0 && h("p", h("a", { href: "#/compare?bad=true" }, "See the bad ones")),
  ];
}

export function now(main) {
  const [all, judgement, comparison, change] = ["nodes", "verdict", "comparison", "change"].map((id) => h("div", { id }));
  main.append(
    h("h1", "Now"),
    all,
    h("div.columns",
      h("section.card", h("h2", "Is it safe to go forward?"), judgement),
      h("section.card", h("h2", "Comparison"), comparison),
      h("section.card", h("h2", "Last change"), change)),
  );
  return watch(() => {
    if (!state.now) return;
    fill(all, nodes().map(node));
    fill(judgement, judged(verdict()));
    const { summary, flag } = state.now;
    const { p50, p95, p99 } = summary.skew_ms;
    fill(comparison,
      isFleet() && h("p.muted", "Of this instance."),
      h("p", `${count(summary.opened)} opened = ${count(summary.closed)} closed + ${count(summary.open)} open`),
      h("p", `Skew p50 ${p50 ?? "–"}, p95 ${p95 ?? "–"}, p99 ${p99 ?? "–"} ms`),
      h("p", `Shed ${count(summary.shed)} · not written ${count(summary.log_lost)}`),
      h("p.muted", `Since ${dateTime(summary.since)}`),
      h("p", h("a", { href: "#/compare" }, "Compare")));
    fill(change,
      h("p", `To ${flag.stage}, ${dateTime(flag.changed_at)}`),
      h("p", `By ${flag.actor ?? "–"} (${flag.source}): ${flag.reason ?? "no reason given"}`),
      h("p", h("a", { href: "#/audit" }, "All changes")));
  });
}
