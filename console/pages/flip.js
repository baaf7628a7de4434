// Forward one stage at a time, with preflight, dry run and a typed confirmation; back anywhere, at once.

import { ApiError, call, get, query } from "../api.js";
import { $, byPress, count, fill, h } from "../dom.js";
import { actor, isFleet, nextStage, ofThisInstance, STAGES, state, tell, watch } from "../state.js";
import { describeRollout } from "./now.js";

const FLAGS = (to) => ({
  use_rabbitmq_updates: ["live", "complete"].includes(to),
  shadow_mode: ["shadow", "live"].includes(to),
});
const ACTIONS = {
  warm: () => "declare, bind and consume the queues of all users, and wait until all are live",
  store: () => "store the change",
  flip: ({ from, to }) => `every user's gate takes ${to} instead of ${from}; what is held for them goes out`,
  drain: ({ window_ms }) => `both paths count for one window more (${window_ms / 1_000} s)`,
  cool: () => "delete the queues of all users",
  audit: () => "write an audit entry",
};

const words = (text) => text.split(/[\s,]+/).filter(Boolean);

export function checks(list) {
  return h("ul.checks", list.map(({ name, ok, detail, remedy }) => {
    const mark = ok === null ? ["neutral", "?"] : ok ? (remedy ? ["warn", "!"] : ["good", "✓"]) : ["bad", "✗"];
    return h("li", h(`span.mark.${mark[0]}`, { role: "img", "aria-label": ["fails", "passes"][ok ? 1 : 0] }, mark[1]),
      h("div", h("strong", name), ` ${detail}`, remedy && h("small", `→ ${remedy}`)));
  }));
}

const input = (id, label, rest = {}) => h("label", label, h("input", { id, autocomplete: "off", spellcheck: false, ...rest }));

export function flip(main) {
  const [title, preflight, answer, back] = ["flip-title", "preflight", "answer", "back"].map((id) => h("div", { id }));
  const buttons = {
    dry: h("button", { type: "button", id: "plan", onclick: byPress(() => dryRun()) }, "Dry run"),
    forward: h("button.primary", { type: "button", id: "forward", onclick: byPress(() => confirm()) }, "Forward …"),
    rollout: h("button", { type: "button", id: "set-rollout", onclick: byPress(() => setRollout()) }, "Set rollout"),
  };
  main.append(
    h("h1", "Flip"), title,
    h("div.columns",
      h("section.card",
        h("h2", "Who and why"),
        input("actor", "Actor", { value: actor.get(), oninput: (event) => actor.set(event.target.value.trim()) }),
        input("reason", "Reason"),
        h("details", { id: "rollout" }, h("summary", "Rollout: who is moved in live and complete"),
          input("percent", "Percent", { type: "number", min: 0, max: 100, step: "any" }),
          input("allow", "Always, user ids"), input("deny", "Never, user ids"), input("tenants", "Tenants (none: all)"),
          buttons.rollout),
        h("menu", h("li", buttons.dry), h("li", buttons.forward)),
        answer),
      h("section.card", h("h2", "Preflight"),
        h("button", { type: "button", id: "check", onclick: () => check() }, "Check again"), preflight),
      h("section.card", h("h2", "Back"), h("p.muted", "At once, and asks nothing: neither RabbitMQ, nor Chat3, nor the disk."), back)),
  );

  const field = (id) => main.querySelector(`#${id}`);
  let of = null;
  const show = (flag) => {
    const to = nextStage();
    fill(title, h("p.lead", `Now in `, h("strong", flag.stage), to ? [" · next ", h("strong", to)] : " · the last stage",
      isFleet() ? ` · ${state.fleet.nodes.length} nodes` : "", ` · rollout ${describeRollout(flag.rollout)}`));
    for (const name of ["dry", "forward"]) buttons[name].disabled = to === undefined;
    fill(back, h("menu.column", STAGES.slice(0, STAGES.indexOf(flag.stage)).reverse().map((stage) =>
      h("li", h("button.danger", { type: "button", "data-back": stage }, `Back to ${stage}`)))),
    flag.stage === "legacy" && h("p", "Rooms deliver. There is nothing to go back to."));
    if (of === JSON.stringify(flag.rollout)) return;
    // What somebody types is not overwritten unless the rollout itself changed.
    of = JSON.stringify(flag.rollout);
    const { percent, allow, deny, tenants } = flag.rollout;
    for (const [id, value] of Object.entries({ percent, allow: allow.join(", "), deny: deny.join(", "), tenants: tenants.join(", ") })) {
      field(id).value = value;
    }
  };
  const rollout = () => ({
    percent: Number(field("percent").value), allow: words(field("allow").value),
    deny: words(field("deny").value), tenants: words(field("tenants").value),
  });
  const who = () => ({ actor: field("actor").value.trim(), reason: field("reason").value.trim() });
  const hasOthers = () => state.now?.status.nodes?.length > 0;
  const put = (body) => call("PUT", hasOthers() ? "fleet/flag" : "flag", body);

  const said = (error) => {
    const list = error instanceof ApiError ? error.answer.checks : null;
    fill(answer, h("p.bad", error.message), list && checks(list), perNode(error.answer));
  };
  const missing = () => {
    const name = ["actor", "reason"].find((key) => !who()[key]);
    if (name) {
      fill(answer, h("p.bad", `${name}: needed for a move`));
      field(name).focus();
    }
    return name;
  };

  async function check() {
    fill(preflight, h("p.muted", "asking …"));
    try {
      const report = await get("preflight");
      fill(preflight, h("p", h(report.ok ? "strong.good" : "strong.bad", report.ok ? "Passes" : "Fails"), ` towards ${report.to}. `, h("small", ofThisInstance("A dry run asks all of them."))),
        checks(report.checks));
    } catch (error) {
      fill(preflight, h("p.bad", error.message));
    }
  }

  async function dryRun() {
    if (missing()) return;
    const to = nextStage();
    try {
      const [plan, whom] = await Promise.all([
        put({ ...FLAGS(to), rollout: rollout(), ...who(), dry_run: true }),
        get(query("flag/concerns", { to, rollout: JSON.stringify(rollout()) })),
      ]);
      fill(answer, h("h3", `Would do, ${state.now.flag.stage} → ${to}`), actions(plan), concerned(whom),
        plan.checks && [h("h3", "Preflight"), checks(plan.checks)], perNode(plan));
    } catch (error) {
      said(error);
    }
  }

  // What a person has seen is moved to, not what has become the next stage meanwhile.
  async function move(to, more = {}) {
    try {
      const moved = await put({ ...FLAGS(to), ...more, ...who() });
      fill(answer, h("p.good", `Moved to ${to}.`), perNode(moved));
      void check();
    } catch (error) {
      said(error);
    }
  }

  async function setRollout() {
    if (missing()) return;
    try {
      const set = await put({ rollout: rollout(), ...who() });
      fill(answer, h("p.good", `Rollout set: ${describeRollout(rollout())}.`), perNode(set));
    } catch (error) {
      said(error);
    }
  }

  function confirm() {
    if (missing()) return;
    const to = nextStage();
    const dialog = $("#confirm");
    $("#confirm-title").textContent = `Forward to ${to}`;
    $("#confirm-text").textContent = `In ${state.now.status.environment}, ${isFleet() ? `all ${state.fleet.nodes.length} nodes` : `on ${state.now.status.instance}`}, rollout ${describeRollout(rollout())}. Type the name of the stage, then press the button with the pointer or with Space.`;
    $("#confirm-name").value = "";
    $("#confirm-go").disabled = true;
    $("#confirm-name").oninput = (event) => { $("#confirm-go").disabled = event.target.value.trim() !== to; };
    $("#confirm-cancel").onclick = () => dialog.close();
    $("#confirm-go").onclick = byPress(() => {
      dialog.close();
      void move(to, { rollout: rollout() });
    });
    dialog.showModal();
    $("#confirm-name").focus();
  }

  back.addEventListener("click", byPress((event) => {
    const to = event.target.dataset.back;
    if (!to) return;
    const given = who();
    const body = { ...FLAGS(to), actor: given.actor || "console", reason: given.reason || `back to ${to} from the console` };
    put(body).then(() => tell("good", `Back to ${to}.`), (error) => said(error));
  }));

  void check();
  return watch(() => state.now && show(state.now.flag));
}

function actions(plan) {
  const list = plan.actions ?? plan.nodes?.find((node) => node.answer?.actions)?.answer.actions ?? [];
  return h("ol", list.map((action) => h("li", ACTIONS[action.action]?.(action) ?? JSON.stringify(action))));
}

function concerned({ users, sockets, to_rabbitmq, to_legacy, named }) {
  const name = ({ user, from, to }) => h("li", `${user}: ${from} → ${to}`);
  const more = to_rabbitmq + to_legacy - named.length;
  return [
    h("h3", "Whom it concerns, of those who are connected here"),
    h("p", h("small", ofThisInstance())),
    h("p", `${count(users)} users with ${count(sockets)} sockets: ${count(to_rabbitmq)} would get their messages from RabbitMQ, ${count(to_legacy)} from rooms again, ${count(users - to_rabbitmq - to_legacy)} as now.`),
    named.length > 0 && h("details", h("summary", "Who"), h("ul", named.map(name), more > 0 && h("li", `and ${count(more)} more`))),
  ];
}

function perNode(answer) {
  if (!answer?.nodes) return null;
  return h("ul", answer.nodes.map((node) => {
    const text = node.answer?.message ?? node.error ?? node.answer?.stage ?? (node.ok ? "ok" : "");
    const failed = (node.answer?.checks ?? []).filter(({ ok }) => ok === false);
    return h("li", h(node.ok === false ? "span.bad" : "span", `${node.node}: ${text}`), failed.length > 0 && checks(failed));
  }));
}
