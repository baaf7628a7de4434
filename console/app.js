// The console: pages by the address's fragment, a header that is always there, and what is wrong above everything.

import { call, onRefused, signIn } from "./api.js";
import { $, byPress, fill, h, time } from "./dom.js";
import { audit } from "./pages/audit.js";
import { compare } from "./pages/compare.js";
import { flip } from "./pages/flip.js";
import { now } from "./pages/now.js";
import { record } from "./pages/record.js";
import { sessions } from "./pages/sessions.js";
import { disagree, isFleet, nodes, rollBack, start, state, tell, watch } from "./state.js";

const PAGES = { now, flip, compare, audit, sessions };
const TITLES = { now: "Now", flip: "Flip", compare: "Compare", audit: "Audit", sessions: "Sessions" };

let leave = () => {};

/** `#/compare?class=leak`, `#/record/ID`: name, rest of the path, query. */
function address() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name = "", ...rest] = path.split("/");
  return { name: name || "now", rest: rest.map(decodeURIComponent), query: new URLSearchParams(search) };
}

function show() {
  const { name, rest, query } = address();
  leave();
  const main = $("#main");
  main.replaceChildren();
  const page = name === "record" ? record : (PAGES[name] ?? now);
  const title = name === "record" ? "Record" : (TITLES[name] ?? "Now");
  document.title = `${title} · updates-bridge`;
  fill($("#nav"), Object.entries(TITLES).map(([other, text]) => {
    const here = other === name || (name === "record" && other === "compare");
    return h("a", { href: `#/${other}`, "aria-current": here ? "page" : null }, text);
  }));
  leave = page(main, { rest, query }) ?? (() => {});
}

function banners() {
  const found = [];
  const say = (kind, ...text) => found.push(h(`p.banner.${kind}`, ...text));
  if (!state.up) {
    const since = state.at ? ` What is shown is of ${time(new Date(state.at).toISOString())}.` : "";
    say("bad", h("strong", "No connection to this instance"), ` (${state.why ?? "lost"}).${since}`);
  }
  for (const node of nodes()) {
    const name = isFleet() ? `${node.instance ?? node.node}: ` : "";
    if (!node.reachable && isFleet()) say("bad", h("strong", `${node.node} does not answer`), ` ${node.error ?? ""}`);
    if (!node.reachable || !node.stage) continue;
    const { broker = {}, chat3 = {}, guard = {}, stage } = node;
    if (broker.up === false && (stage !== "legacy" || broker.since)) {
      const means = {
        legacy: "Nobody notices: rooms deliver.",
        shadow: "Nobody notices: rooms deliver. Nothing is compared.",
        live: "Messages accepted here are rescued from the rooms' copies; others are not delivered. Consider a rollback.",
        complete: "Nothing is delivered. Roll back.",
      }[stage];
      if (stage !== "legacy") say("bad", h("strong", `${name}RabbitMQ is down`), ` in stage ${stage}. ${means}`);
    } else if (broker.blocked) say("warn", h("strong", `${name}RabbitMQ is blocked`), " by an alarm of its own: disk or memory.");
    if (chat3.up === false) say("bad", h("strong", `${name}Chat3 does not answer.`), " Nothing can be posted.");
    if (["alarmed", "acted"].includes(guard.state)) {
      say("warn", h("strong", `${name}Guard: ${guard.state}`), ` ${guard.why ?? ""}`);
    }
  }
  if (isFleet() && disagree()) say("warn", h("strong", "The nodes do not agree"), " on stage or rollout.");
  const { notice } = state;
  if (notice) say(notice.kind, notice.text, h("button.plain", { type: "button", id: "dismiss", title: "dismiss" }, "×"));
  fill($("#banners"), found);
}

function header() {
  const status = state.now?.status;
  const environment = status?.environment ?? "–";
  $("#environment").textContent = environment;
  $("#environment").className = `chip ${environment}`;
  $("#instance").textContent = status ? `${status.instance}${isFleet() ? ` · 1 of ${state.fleet.nodes.length} nodes` : ""}` : "–";
  $("#connection").textContent = state.up ? "live" : "lost";
  $("#connection").className = state.up ? "dot up" : "dot";
  $("#rollback").textContent = isFleet() ? "Roll back the fleet" : "Roll back";
  document.body.classList.toggle("lost", !state.up);
}

async function rollback() {
  const button = $("#rollback");
  button.disabled = true;
  try {
    const answer = await rollBack();
    const silent = (answer.nodes ?? []).filter((node) => node.ok === false || node.reachable === false);
    const kept = (answer.nodes ?? []).some((node) => node.answer?.persisted === false) ? " It could not be stored: a restart would undo it." : "";
    if (silent.length) tell("bad", `Rolled back, but not on ${silent.map((node) => node.node).join(", ")}.${kept}`);
    else tell("good", `Rolled back to legacy.${kept}`);
  } catch (error) {
    tell("bad", `The rollback failed: ${error.message}`);
  }
  button.disabled = false;
}

$("#rollback").addEventListener("click", byPress(rollback));
$("#banners").addEventListener("click", (event) => {
  if (event.target.id === "dismiss") tell(null);
});
// The address's fragment is the page's name.
$(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("#main").focus();
});
onRefused(() => { $("#sign-in").hidden = false; });
$("#sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  signIn($("#token").value);
  await call("GET", "status").then(() => { $("#sign-in").hidden = true; show(); }, (error) => tell("bad", error.message));
});
window.addEventListener("hashchange", show);
watch(() => { header(); banners(); });
start();
show();
