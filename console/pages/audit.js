// Who changed what, why, and on which evidence.

import { get } from "../api.js";
import { dateTime, fill, h } from "../dom.js";
import { ofThisInstance } from "../state.js";
import { describeRollout } from "./now.js";

function entry(item) {
  const what = item.action ?? `${item.from} → ${item.to}`;
  const marks = [item.forced && "forced", item.automatic && "automatic", item.refused && `refused: ${item.refused}`].filter(Boolean);
  const { verdict, messages } = item.evidence ?? {};
  return h("tr",
    h("td", dateTime(item.at)),
    h("td", h("strong", what), marks.length > 0 && h("small.bad", ` ${marks.join(", ")}`)),
    h("td", item.actor, item.on_behalf_of && h("small", ` for ${item.on_behalf_of}`), h("small", ` (${item.source})`)),
    h("td", item.reason),
    h("td", verdict && h(`span.verdict.${verdict}`, verdict), messages != null && ` ${messages} messages`,
      h("details", h("summary", "all"), h("pre", { tabindex: 0 }, JSON.stringify(item.evidence, null, 1)))),
    h("td", item.rollout ? describeRollout(item.rollout) : ""),
    h("td.number", item.duration_ms == null ? "" : `${item.duration_ms} ms`),
    h("td", h("code", { title: item.hash }, String(item.hash ?? "").slice(0, 8))));
}

export function audit(main) {
  const [chain, list] = [h("div", { id: "chain" }), h("div", { id: "entries" })];
  main.append(h("h1", "Audit"), chain, list);
  let over = false;
  (async () => {
    while (!over) {
      try {
        const { entries, verification } = await get("audit");
        const { ok, problem, line, lines } = verification;
        fill(chain, h("p.muted", ofThisInstance()), h("p", h(ok ? "strong.good" : "strong.bad", ok ? "✓ Verified" : "✗ Not verified"), ": ",
          ok ? `${lines} entries, each follows from the one before it.` : `${problem ?? "the chain is broken"}${line == null ? "" : `, line ${line}`}.`));
        const names = ["when", "what", "who", "why", "evidence", "rollout", "took", "hash"];
        fill(list, entries.length
          ? h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Entries" },
            h("table", h("thead", h("tr", names.map((name) => h("th", { scope: "col" }, name)))), h("tbody", entries.map(entry))))
          : h("p", "Nothing was changed yet."));
      } catch (error) {
        fill(chain, h("p.bad", error.message));
      }
      await new Promise((resolve) => setTimeout(resolve, 5_000));
    }
  })();
  return () => { over = true; };
}
