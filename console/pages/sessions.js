// Who is connected here, by which sockets, and how far behind their queues are.

import { get } from "../api.js";
import { count, fill, h } from "../dom.js";
import { ofThisInstance } from "../state.js";

/** Rows that are shown at most; a search narrows them. */
const MOST = 200;

function row({ user, tenant, stage, sockets }, queue) {
  const socket = ({ id, transport, rooms, subscriptions, accepts }) =>
    h("li", h("code", id), ` ${transport}, ${rooms.length} rooms`, rooms.length > 0 && h("small", ` ${rooms.slice(0, 3).join(" ")}${rooms.length > 3 ? " …" : ""}`),
      h("small", ` · ${[].concat(subscriptions).join(" ")} · ${accepts.length ? accepts.join(" ") : "old form"}`));
  return h("tr", h("td", user), h("td", tenant), h("td", h("span.chip", stage)), h("td", h("ul.plain", sockets.map(socket))),
    h("td", queue ? [h(queue.state === "live" ? "span.good" : "span.bad", queue.state), h("small", ` ${queue.name}`)] : "–"),
    h("td.number", queue?.lag ?? "–"));
}

export function sessions(main, { query }) {
  const [total, list] = [h("p.muted", { id: "total" }), h("div", { id: "sessions" })];
  const search = h("input", { id: "search", type: "search", value: query.get("q") ?? "", placeholder: "user, socket, dialog, queue", spellcheck: false });
  main.append(h("h1", "Sessions"), h("label.search", "Search ", search), total, list);
  let [all, over] = [[], false];
  const show = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = wanted ? all.filter(({ text }) => text.includes(wanted)) : all;
    total.textContent = `${count(found.length)} of ${count(all.length)} users${found.length > MOST ? `, the first ${MOST} shown` : ""}. ${ofThisInstance()}`;
    const names = ["user", "tenant", "stage", "sockets", "queue", "lag"];
    fill(list, found.length === 0 ? h("p", all.length ? "Nobody fits." : "Nobody is connected.")
      : h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Users" },
        h("table", h("thead", h("tr", names.map((name) => h("th", { scope: "col" }, name)))),
          h("tbody", found.slice(0, MOST).map(({ session, queue }) => row(session, queue))))));
  };
  search.addEventListener("input", () => {
    history.replaceState(null, "", search.value ? `#/sessions?q=${encodeURIComponent(search.value)}` : "#/sessions");
    show();
  });
  (async () => {
    while (!over) {
      try {
        const [{ sessions: found }, { queues }] = await Promise.all([get("sessions"), get("queues")]);
        const byUser = new Map(queues.map((queue) => [queue.user, queue]));
        all = found.map((session) => {
          const queue = byUser.get(session.user);
          return { session, queue, text: JSON.stringify([session, queue?.name]).toLowerCase() };
        });
        show();
      } catch (error) {
        total.textContent = error.message;
      }
      await new Promise((resolve) => setTimeout(resolve, 5_000));
    }
  })();
  return () => { over = true; };
}
