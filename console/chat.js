// The demo's chat: a page on the browser client, one pane for each person, and the gateway's stage above it.

import { connect } from "./chat-client.js";

const $ = (selector) => document.querySelector(selector);
const STAGES = ["legacy", "shadow", "live", "complete"];
const MEANS = {
  legacy: "Rooms deliver. The queues do not run.",
  shadow: "Rooms deliver; the queues run too, and every pair is compared.",
  live: "The queues deliver; the rooms' copies are compared, and step in where an update does not come.",
  complete: "The queues deliver. Nothing is compared.",
};
const HOW = { "message:new": ["room", "message:new, by the room"], update: ["queue", "update, by the queue"] };
/** Lines that a pane keeps. */
const MOST = 300;

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

const about = await (await fetch("demo.json")).json();
const nameOf = (id) => about.users.find((user) => user.id === id)?.name ?? id;
const notice = (text) => { $("#notice").textContent = text; };

function pane({ id, name }) {
  const section = make("section");
  const [lines, typing, form, input] = [make("ol", undefined, "lines"), make("p", "", "typing"), make("form"), make("input")];
  Object.assign(input, { placeholder: "Message", maxLength: 4_000, required: true });
  input.setAttribute("aria-label", `Message of ${name}`);
  lines.tabIndex = 0;
  lines.setAttribute("aria-label", `What ${name} sees`);
  form.append(input, make("button", "Send"));
  section.append(make("h2", name), lines, typing, form);
  section.dataset.user = id;
  $("#main").append(section);
  const add = (item) => {
    const atEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 60;
    lines.append(item);
    while (lines.children.length > MOST) lines.firstChild.remove();
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  };
  const say = (text) => add(make("li", `— ${text} —`, "said"));

  const chat = connect({ url: location.origin, userId: id });
  chat.on("message:new", (message) => {
    const item = make("li", `${nameOf(message.senderId)}: ${message.content}`);
    item.dataset.message = message.id;
    const [kind, text] = HOW[message.via];
    item.append(make("span", text, `how ${kind}`));
    add(item);
  });
  chat.on("bridge:resync", ({ reason, since }) => say(`gap since ${since} (${reason}): a real page would reload`));
  chat.on("status", ({ state, recovered, error }) => {
    if (state === "online") say(recovered ? "connected again, nothing missed" : "connected");
    else say(error ? `${state}: ${error}` : state);
  });
  chat.on("typing", ({ userId, active }) => { typing.textContent = active ? `${nameOf(userId)} types …` : ""; });
  chat.join(about.dialog).catch((error) => say(`not joined: ${error.message}`));
  input.addEventListener("input", () => chat.typing(about.dialog));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = input.value;
    input.value = "";
    chat.stopTyping(about.dialog);
    await chat.send(about.dialog, text).catch((error) => say(`not sent: ${error.message}`));
  });
  return chat;
}

const panes = about.users.slice(0, 4).map(pane);

for (const { word, does } of about.plants) {
  const button = make("button", word);
  Object.assign(button, { type: "button", title: does });
  button.addEventListener("click", async () => {
    notice("");
    // Chat3 refuses the same text twice within half a second.
    const text = `${does} ${word} ${Date.now() % 100_000}`;
    await panes[0].send(about.dialog, text).catch((error) => notice(`${word}: ${error.message}${word === "#unanswered" ? " (as planted)" : ""}`));
  });
  $("#faults").append(button);
}
$("#faults").prepend(make("span", "Plant a fault, and see what the console calls it five seconds later:"));
$("#console").href = about.console;
$("#stages").append(...STAGES.map((stage) => make("li", stage)));

let stage = null;
async function ask(path, method = "GET", body) {
  const response = await fetch(path, { method, headers: body && { "content-type": "application/json" }, body: body && JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.message ?? answer.error ?? `HTTP ${response.status}`);
  return answer;
}

async function look() {
  try {
    const { stage: now, verdict } = await ask("demo/now");
    stage = now;
    [...$("#stages").children].forEach((item) => {
      item.classList.toggle("on", item.textContent === stage);
      if (item.textContent === stage) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    });
    $("#means").textContent = MEANS[stage];
    $("#verdict").textContent = verdict ? `${verdict.value}: ${verdict.says}` : "";
    const next = STAGES[STAGES.indexOf(stage) + 1];
    $("#forward").textContent = next ? `Forward to ${next}` : "Forward";
    $("#forward").disabled = !next;
    $("#back").disabled = stage === "legacy";
  } catch (error) {
    $("#verdict").textContent = `The gateway does not answer: ${error.message}`;
  }
}

async function move(asked) {
  notice("");
  for (const id of ["#forward", "#back"]) $(id).disabled = true;
  await asked().catch((error) => notice(error.message));
  await look();
}

$("#forward").addEventListener("click", () => move(() => {
  const to = STAGES[STAGES.indexOf(stage) + 1];
  return ask("demo/flag", "PUT", {
    use_rabbitmq_updates: ["live", "complete"].includes(to), shadow_mode: ["shadow", "live"].includes(to),
    actor: "chat page", reason: `forward to ${to} on the demo's page`,
  });
}));
$("#back").addEventListener("click", () => move(() => ask("demo/rollback", "POST")));

await look();
setInterval(look, 1_000);
