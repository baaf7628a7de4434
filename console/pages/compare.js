// QA's view: classes over time, what differs, and every record, newest first.

import { get, query as path } from "../api.js";
import { chart } from "../chart.js";
import { ALL, BAD, kind, mark, NEUTRAL } from "../classes.js";
import { count, dateTime, fill, h } from "../dom.js";
import { ofThisInstance, state, watch } from "../state.js";

const PAGE = 50;
/** Records of which the differing fields are counted. */
const FIELDS_OF = 500;
const TEXTS = ["user", "dialog", "message", "field", "since"];
const HINTS = { since: "10m, 2h or ISO-8601", field: "/content", message: "msg_…", dialog: "dlg_…", user: "usr_…" };

const sum = (classes, names) => names.reduce((all, name) => all + (classes[name] ?? 0), 0);
const MINUTES = { "15 min": 15, "1 h": 60, "6 h": 360, "24 h": 1_440 };

const recordLink = (record) => `#/record/${encodeURIComponent(record.id)}`;

function row(record) {
  const differs = record.diff.map(({ path: at }) => at).join(", ");
  return h("tr",
    h("td", dateTime(record.at)),
    h("td", h("a", { href: recordLink(record) }, h(`span.${kind(record.class)}`, `${mark(record.class)} ${record.class}`)),
      record.cause && h("small", ` ${record.cause}`),
      record.modifiers.length > 0 && h("small", ` ${record.modifiers.join(", ")}`)),
    h("td", record.user), h("td", record.dialog ?? "–"), h("td", record.event),
    h("td", differs || record.rules.join(", ")),
    h("td.number", record.skew_ms == null ? "" : `${record.skew_ms} ms`));
}

export function compare(main, { query }) {
  const charts = [
    chart("Good and explained, units a minute", [
      { label: "match", colour: "--good", of: ({ classes }) => classes.match ?? 0 },
      { label: "expected", colour: "--muted", of: ({ classes }) => sum(classes, NEUTRAL) },
    ]),
    chart("Bad and indeterminate, units a minute", [
      { label: "bad", colour: "--bad", of: ({ classes }) => sum(classes, BAD) },
      { label: "indeterminate", colour: "--warn", of: ({ classes }) => classes.indeterminate ?? 0 },
    ]),
    chart("Largest skew, ms", [{ label: "skew", colour: "--accent", of: ({ skew_max_ms }) => skew_max_ms }]),
  ];
  const ids = ["classes", "fields", "records", "pager", "count"];
  const [classes, fields, records, pager, found] = ids.map((id) => h("div", { id }));
  const select = h("select", { id: "class", "aria-label": "Class" }, h("option", { value: "" }, "every class"),
    h("option", { value: "bad" }, "every bad one"), ALL.map((name) => h("option", { value: name }, name)));
  const texts = TEXTS.map((name) => h("input", { id: `f-${name}`, name, placeholder: HINTS[name], "aria-label": name, spellcheck: false, autocomplete: "off" }));
  const minutes = h("select", { id: "minutes", "aria-label": "Time shown" }, Object.entries(MINUTES).map(([text, value]) => h("option", { value }, text)));
  main.append(h("h1", "Compare"),
    h("div.columns",
      h("section.card", h("h2", "Classes"), classes, h("h2", "Fields that differ most"), fields),
      h("section.card", h("h2", "Over time"), h("label.search", "Show ", minutes), charts.map(({ element }) => element))),
    h("section.card", h("h2", "Records, newest first"), h("div.filters", select, texts, h("button", { type: "button", id: "clear" }, "Clear")),
      found, records, pager));

  const wanted = Object.fromEntries(query);
  select.value = wanted.bad === "true" ? "bad" : (wanted.class ?? "");
  for (const input of texts) input.value = wanted[input.name] ?? "";

  let older = null;
  let rows = [];
  let seen = null;
  const filter = () => {
    const pairs = Object.fromEntries(texts.map((input) => [input.name, input.value.trim()]));
    if (select.value === "bad") pairs.bad = "true";
    else pairs.class = select.value;
    return { ...pairs, cause: wanted.cause };
  };
  const remember = () => history.replaceState(null, "", path("#/compare", filter()));
  const changed = () => {
    remember();
    older = null;
    seen = null;
    void load();
  };
  const set = (pairs) => {
    if ("class" in pairs) select.value = pairs.class;
    for (const input of texts) if (input.name in pairs) input.value = pairs[input.name];
    wanted.cause = pairs.cause;
    changed();
  };
  select.addEventListener("change", () => set({ class: select.value }));
  for (const input of texts) input.addEventListener("change", changed);
  main.querySelector("#clear").addEventListener("click", () => set({ class: "", ...Object.fromEntries(TEXTS.map((name) => [name, ""])) }));
  minutes.addEventListener("change", () => void timeline());

  const table = () => {
    const names = ["closed", "class", "user", "dialog", "event", "differs, or rules", "skew"];
    const cause = wanted.cause ? `, cause ${wanted.cause}` : "";
    found.textContent = `${count(rows.length)} shown${cause}. The latest 1,000 and some of each class are kept in memory; the log has more (updates-bridge shadow records), and a link finds its record there.`;
    found.className = "muted";
    fill(records, rows.length === 0 ? h("p", "No record fits.")
      : h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Records" },
        h("table.records", h("thead", h("tr", names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", rows.map(row)))));
    fill(pager, older && h("button", { type: "button", id: "older" }, "Older"));
  };
  async function load(after) {
    try {
      const page = await get(path("shadow/records", { ...filter(), order: "desc", limit: PAGE, after }));
      rows = after ? [...rows, ...page.records] : page.records;
      older = page.records.length === PAGE ? page.next : null;
      table();
    } catch (error) {
      fill(records, h("p.bad", error.message));
    }
  }
  pager.addEventListener("click", (event) => event.target.id === "older" && void load(older));

  async function differing() {
    const page = await get(path("shadow/records", { class: "payload_mismatch", order: "desc", limit: FIELDS_OF })).catch(() => ({ records: [] }));
    const counts = new Map();
    for (const { path: at } of page.records.flatMap(({ diff }) => diff)) counts.set(at, (counts.get(at) ?? 0) + 1);
    const top = [...counts].sort(([, a], [, b]) => b - a).slice(0, 10);
    fill(fields, top.length === 0 ? h("p", "None.") : h("table", h("tbody", top.map(([at, times]) =>
      h("tr", h("td", h("button.link", { type: "button", "data-field": at }, at)), h("td.number", count(times)))))));
  }
  fields.addEventListener("click", ({ target }) => target.dataset.field && set({ class: "payload_mismatch", field: target.dataset.field }));

  const overview = ({ summary }) => fill(classes, h("p.muted", ofThisInstance()), h("table", h("tbody", ALL.map((name) => {
    const own = Object.entries(summary.causes).filter(([key, units]) => units > 0 && key.startsWith(`${name}/`));
    return h(summary.classes[name] ? "tr" : "tr.zero",
      h("td", h(`button.link.${kind(name)}`, { type: "button", "data-class": name }, `${mark(name)} ${name}`)),
      h("td.number", count(summary.classes[name])),
      h("td", own.map(([key, units]) => [h("button.link", { type: "button", "data-class": name, "data-cause": key.slice(name.length + 1) },
        key.slice(name.length + 1)), ` ${count(units)} `])));
  }))), h("p.muted", `Skew p50 ${summary.skew_ms.p50 ?? "–"}, p95 ${summary.skew_ms.p95 ?? "–"}, p99 ${summary.skew_ms.p99 ?? "–"} ms. Rules: ${
    Object.entries(summary.rules).map(([rule, units]) => `${rule} ${count(units)}`).join(", ") || "none needed"}.`));
  classes.addEventListener("click", ({ target }) => {
    const { class: name, cause } = target.dataset;
    if (name) set({ class: name, cause });
  });

  async function timeline() {
    const last = Number(minutes.value);
    const { buckets, bucket_seconds } = await get(path("shadow/timeline", { minutes: last })).catch(() => ({ buckets: [], bucket_seconds: 60 }));
    for (const one of charts) one.draw(buckets, bucket_seconds, last);
  }
  minutes.value = "15";

  let beat = 0;
  const stop = watch(() => {
    if (!state.now) return;
    overview(state.now);
    // With every moment in which something closed; the rest now and then.
    const { closed } = state.now.summary;
    if (closed !== seen && rows.length <= PAGE) {
      seen = closed;
      void load();
    }
    if (beat++ % 10 === 0) {
      void timeline();
      void differing();
    }
  });
  return () => {
    stop();
    for (const one of charts) one.end();
  };
}
