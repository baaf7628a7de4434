// The console: everything it shows comes from the admin API of the instance that served it.

const $ = (selector) => document.querySelector(selector);
const STAGES = ["legacy", "shadow", "live", "complete"];
const GOOD = new Set(["match"]);
const NEUTRAL = new Set(["missing_in_rabbitmq_expected", "missing_in_legacy_expected"]);
const MOST_RECORDS = 200;

let token = sessionStorage.getItem("token") ?? "";
let stage = null;

async function call(method, path, body) {
  const headers = { ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }) };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(40_000) });
  const answer = await response.json().catch(() => ({}));
  $("#sign-in").hidden = response.status !== 401;
  if (!response.ok) throw Object.assign(new Error(answer.message ?? answer.error ?? `HTTP ${response.status}`), { answer });
  return answer;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const kindOf = (name) => (GOOD.has(name) ? "good" : NEUTRAL.has(name) ? "neutral" : "bad");

const percent = (share) => `${Number((share * 100).toPrecision(2))} %`;
const duration = (seconds) => (seconds < 7_200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3_600)} h`);

function showFlag(flag) {
  stage = flag.stage;
  for (const item of $("#stages").children) item.classList.toggle("on", item.dataset.stage === stage);
  const transition = flag.transition
    ? `${flag.transition.from} → ${flag.transition.to}: ${flag.transition.phase} (${flag.transition.users_ready}/${flag.transition.users_total} users)`
    : "none";
  const rows = {
    source: flag.source, version: flag.version, changed: flag.changed_at ?? "–", actor: flag.actor ?? "–",
    reason: flag.reason ?? "–", rollout: JSON.stringify(flag.rollout), transition,
  };
  $("#flag").replaceChildren(...Object.entries(rows).flatMap(([key, value]) => [element("dt", key), element("dd", String(value))]));
  $("#forward").disabled = $("#plan").disabled = stage === "complete";
}

function showSummary(summary) {
  const { verdict } = summary;
  $("#verdict").textContent = verdict.value;
  $("#verdict").className = `badge ${verdict.value}`;
  const skew = summary.skew_ms ?? {};
  $("#totals").textContent = `${summary.opened} opened = ${summary.closed} closed + ${summary.open} open · shed ${summary.shed}`
    + ` · skew p50 ${skew.p50 ?? "–"} p95 ${skew.p95 ?? "–"} p99 ${skew.p99 ?? "–"} ms · since ${summary.since}`;
  const rows = Object.entries(summary.classes).map(([name, units]) => {
    const row = element("tr", undefined, units ? "" : "zero");
    const causes = Object.entries(summary.causes).filter(([key]) => key.startsWith(`${name}/`))
      .map(([key, count]) => `${key.slice(name.length + 1)} ${count}`).join(", ");
    row.append(element("td", name, kindOf(name)), element("td", units, "number"), element("td", causes));
    return row;
  });
  $("#classes tbody").replaceChildren(...rows);
  $("#missing").textContent = `${verdict.says}.`
    + (verdict.value === "NOT_SAFE" ? "" : (verdict.messages ? ` The rate is below ${percent(verdict.upper_bound)}.` : "")
      + (verdict.missing?.length ? ` Missing: ${verdict.missing.join("; ")}.` : "")
      + (verdict.eta == null ? "" : ` Expected in ${duration(verdict.eta)}.`));
}

function addRecord(record) {
  const row = element("tr");
  const diff = (record.diff ?? []).map((item) => `${item.path} ${item.kind}`).join(", ");
  const notes = record.modifiers?.length ? ` (${record.modifiers.join(", ")})` : "";
  const cells = [record.at, record.class + notes, record.cause ?? "", record.user, record.dialog ?? "", record.event ?? "",
    record.skew_ms == null ? "" : `${record.skew_ms} ms`, diff || (record.rules ?? []).join(", ")];
  row.append(...cells.map((text, place) => element("td", text, place === 1 ? kindOf(record.class) : "")));
  row.title = JSON.stringify(record, null, 1);
  row.dataset.at = record.at;
  row.dataset.key = `${record.id} ${record.class} ${record.at}`;
  const body = $("#records tbody");
  // What closed before the page was opened may come after what closes now, and some of it twice.
  const rows = [...body.children];
  if (rows.some((other) => other.dataset.key === row.dataset.key)) return;
  body.insertBefore(row, rows.find((other) => other.dataset.at <= record.at) ?? null);
  while (body.children.length > MOST_RECORDS) body.lastChild.remove();
}

// EventSource can't send a token, so the stream is read by hand.
async function follow() {
  for (;;) {
    try {
      const headers = token ? { authorization: `Bearer ${token}` } : {};
      const response = await fetch("admin/shadow/stream", { headers });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      $("#live").textContent = "live";
      let text = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        for (const event of events) {
          const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
          if (data) addRecord(JSON.parse(data));
        }
      }
    } catch (error) {
      $("#live").textContent = `not connected: ${error.message}`;
    }
    await new Promise((resolve) => setTimeout(resolve, 3_000));
  }
}

async function refresh() {
  try {
    showFlag(await call("GET", "admin/flag"));
    showSummary(await call("GET", "admin/shadow/summary"));
    $("#notice").hidden = true;
  } catch (error) {
    $("#notice").textContent = error.message;
    $("#notice").hidden = false;
  }
}

const who = () => ({ actor: $("#actor").value.trim(), reason: $("#reason").value.trim() });
const nextStage = () => STAGES[STAGES.indexOf(stage) + 1];

async function answered(asked) {
  const answer = await asked.catch((error) => error.answer ?? { error: error.message });
  $("#answer").textContent = JSON.stringify(answer, null, 1);
  $("#answer").hidden = false;
  await refresh();
}

// What a person has seen is moved to, not what has become the next stage meanwhile.
function move(to, dry_run) {
  const flags = { use_rabbitmq_updates: ["live", "complete"].includes(to), shadow_mode: ["shadow", "live"].includes(to) };
  return answered(call("PUT", "admin/flag", { ...flags, ...who(), dry_run }));
}

// A click that a key made (Enter on a button that has the focus) has no detail; Space is a deliberate press.
let pressed = null;
for (const type of ["keydown", "keyup"]) document.addEventListener(type, (event) => { pressed = event.key; }, true);
document.addEventListener("pointerdown", () => { pressed = null; }, true);
const onPress = (selector, act) => $(selector).addEventListener("click", (event) => {
  if (event.detail > 0 || pressed !== "Enter") act();
});

onPress("#plan", () => move(nextStage(), true));

onPress("#forward", () => {
  const missing = ["actor", "reason"].find((name) => !who()[name]);
  if (missing) {
    $(`#${missing}`).focus();
    $("#answer").textContent = `${missing}: needed for a move forward`;
    $("#answer").hidden = false;
    return;
  }
  $("#confirm-to").textContent = nextStage();
  $("#confirm-name").value = "";
  $("#confirm-go").disabled = true;
  $("#confirm").showModal();
  $("#confirm-name").focus();
});

$("#confirm-name").addEventListener("input", (event) => {
  $("#confirm-go").disabled = event.target.value.trim() !== $("#confirm-to").textContent;
});

$("#confirm-cancel").addEventListener("click", () => $("#confirm").close());

onPress("#confirm-go", () => {
  const to = $("#confirm-to").textContent;
  if ($("#confirm-name").value.trim() !== to) return;
  $("#confirm").close();
  move(to, false);
});

// Back is never in doubt: one press, by whatever.
$("#back").addEventListener("click", () => {
  const { actor, reason } = who();
  answered(call("POST", "admin/rollback", { ...(actor && { actor }), ...(reason && { reason }) }));
});

$("#preflight").addEventListener("click", async () => {
  const { checks, to } = await call("GET", "admin/preflight").catch((error) => ({ to: "", checks: [{ name: error.message, ok: false, detail: "", remedy: "" }] }));
  $("#checks").replaceChildren(...checks.map((check) => {
    const item = element("li", `${check.ok === true ? "✓" : check.ok === false ? "✗" : "?"} ${check.name}`, check.ok === true ? "good" : check.ok === false ? "bad" : "neutral");
    item.append(element("small", `${check.detail} ${check.ok === true ? "" : check.remedy ?? ""}`));
    return item;
  }));
  $("#checks").prepend(element("li", `towards ${to}`));
});

$("#sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("#token").value;
  sessionStorage.setItem("token", token);
  refresh();
});

// What closed before the page was opened.
async function catchUp() {
  try {
    const { records } = await call("GET", `admin/shadow/records?order=desc&limit=${MOST_RECORDS}`);
    records.reverse().forEach(addRecord);
  } catch {
    // The notice of refresh() says why.
  }
}

catchUp();
refresh();
setInterval(refresh, 2_000);
follow();
