// One record: both sides next to each other. Its address can be handed on.

import { get, query } from "../api.js";
import { kind, mark } from "../classes.js";
import { dateTime, fill, h } from "../dom.js";
import { state } from "../state.js";

const isRedacted = (value) =>
  value !== null && typeof value === "object" && Object.keys(value).sort().join() === "hash,len";
const anyRedacted = (value) =>
  isRedacted(value) || (value !== null && typeof value === "object" && Object.values(value).some(anyRedacted));

function shown(value) {
  if (value === undefined || value === null) return h("span.muted", value === undefined ? "absent" : "null");
  if (isRedacted(value)) return h("span", { title: "redacted" }, `${value.len} characters, hash ${value.hash}`);
  return typeof value !== "object" ? String(value) : h("pre", { tabindex: 0 }, JSON.stringify(value, null, 1));
}

function sides(record) {
  const both = (label, of) => {
    const [legacy, rabbitmq] = ["legacy", "rabbitmq"].map((name) => (record[name] ? of(record[name]) : undefined));
    return { label, legacy, rabbitmq, differs: false };
  };
  const rows = [
    both("seen", ({ at }) => at),
    { ...both("sockets", ({ sockets }) => sockets), differs: record.class === "audience_mismatch" },
    both("redelivered", ({ redelivered }) => (redelivered === undefined ? undefined : String(redelivered))),
    ...record.diff.map(({ path, kind: how, legacy, rabbitmq }) => ({ label: path, how, legacy, rabbitmq, differs: true })),
  ].filter(({ legacy, rabbitmq }) => legacy !== undefined || rabbitmq !== undefined);
  const cell = (row, name) => h(row.differs ? "td.differs" : "td", { "data-side": name }, row.differs && h("span.sr", "differs: "), shown(row[name]));
  return h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Both sides" }, h("table.sides",
    h("thead", h("tr", ["field", "legacy", "rabbitmq"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", rows.map((row) => h("tr", h("th", { scope: "row" }, row.label, row.how && h("small", ` ${row.how}`)), cell(row, "legacy"), cell(row, "rabbitmq"))))));
}

/** Both copies as they came, where the record has them: field by field, what differs marked. */
function bodies({ payloads, diff }) {
  if (!payloads) return null;
  const update = payloads.rabbitmq;
  const both = { legacy: payloads.legacy ?? {}, rabbitmq: update?.data?.message ?? update?.data ?? {} };
  const names = [...new Set([...Object.keys(both.legacy), ...Object.keys(both.rabbitmq)])];
  const row = (name) => {
    const differs = diff.some(({ path }) => path === `/${name}` || path.startsWith(`/${name}/`));
    const isSame = JSON.stringify(both.legacy[name]) === JSON.stringify(both.rabbitmq[name]);
    const cell = (side) => h(differs ? "td.differs" : "td", { "data-side": side }, differs && h("span.sr", "differs: "), shown(both[side][name]));
    return h("tr", { "data-field": name }, h("th", { scope: "row" }, name, !differs && !isSame && h("small", " explained, or not compared")),
      cell("legacy"), cell("rabbitmq"));
  };
  return [
    h("h3", "Both copies, as they came"),
    h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Both copies" }, h("table.sides.bodies",
      h("thead", h("tr", ["field", "legacy", "rabbitmq"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", names.map(row)))),
    update && h("details", h("summary", "The whole update"), h("pre", { tabindex: 0 }, JSON.stringify(update, null, 2))),
  ];
}

function redaction(record) {
  const { reveal } = state.now?.summary ?? {};
  const now = reveal ? ` Records from now on show it, until ${dateTime(reveal.until)}: ${reveal.actor} asked (${reveal.reason}).` : "";
  if (anyRedacted(record.diff)) {
    return `Text of people is redacted to its length and a hash; equal hashes are equal texts.${now || " `updates-bridge shadow reveal` shows it for some time, in records from then on."}`;
  }
  return record.diff.length ? "Nothing here is redacted." : "No field differs.";
}

function facts(record) {
  const list = {
    closed: dateTime(record.at), instance: record.instance, stage: record.stage, user: record.user, tenant: record.tenant,
    dialog: record.dialog, message: record.message, event: record.event, "event id": record.event_id, "routing key": record.routing_key,
    skew: record.skew_ms == null ? null : `${record.skew_ms} ms`, rules: record.rules.join(", "), modifiers: record.modifiers.join(", "),
  };
  const given = Object.entries(list).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", given.map(([name, value]) => h("div", h("dt", name), h("dd", value))));
}

async function copy(text, button) {
  // Not every page may use the clipboard; a field that is selected always works.
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1_500);
}

function one(record, isLatest) {
  const json = JSON.stringify(record, null, 2);
  const button = (text, what) => h("li", h("button", { type: "button", onclick: (event) => copy(what, event.target) }, text));
  return h("section.card", { "aria-label": record.id },
    h("h2", h(`span.${kind(record.class)}`, `${mark(record.class)} ${record.class}`), record.cause && ` / ${record.cause}`,
      record.amends && h("small", " amends an earlier record of this unit"), !isLatest && h("small", " amended since")),
    h("menu", button("Copy link", `${location.href.split("#")[0]}#/record/${encodeURIComponent(record.id)}`), button("Copy as JSON", json)),
    sides(record), h("p.muted", { "data-redaction": true }, redaction(record)), bodies(record), facts(record),
    h("details", h("summary", "JSON"), h("pre", { tabindex: 0 }, json)));
}

export function record(main, { rest: [id = ""] }) {
  const place = h("div", { id: "record" });
  main.append(h("p", h("a", { href: "#/compare" }, "← Compare")), h("h1", "Record"), place);
  get(query("shadow/records", { id, order: "desc" })).then(({ records }) => {
    if (records.length) fill(place, records.map((found, index) => one(found, index === 0)));
    else fill(place, h("p", `Record ${id} is neither in memory nor in the log of this instance. `, h("code", `updates-bridge shadow records LOG --id ${id}`), " looks for it in other files."));
  }, (error) => fill(place, h("p.bad", error.message)));
}
