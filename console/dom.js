// Elements without a framework. Text is always text: nothing that comes from outside is read as HTML.

export const $ = (selector) => document.querySelector(selector);

/** `h("td.number", {title}, child, …)`: children are nodes, texts, lists of these, or nothing. */
export function h(name, ...rest) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  const hasProps = rest.length && rest[0]?.constructor === Object;
  for (const [key, value] of Object.entries(hasProps ? rest.shift() : {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !["list", "form", "role"].includes(key) && !key.includes("-")) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...rest.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

const filled = new WeakMap();

/**
 * Replaces the content of an element only where it would be another one than the last time, so that nothing under a
 * finger or a cursor is made anew, and what somebody opened stays open.
 */
export function fill(element, ...children) {
  const made = h(element.localName, ...children);
  const text = made.innerHTML;
  if (filled.get(element) === text) return;
  filled.set(element, text);
  element.replaceChildren(...made.childNodes);
}

// A click that a key made (Enter on a button that has the focus) is no deliberate press; Space is.
let pressed = null;
for (const type of ["keydown", "keyup"]) document.addEventListener(type, (event) => { pressed = event.key; }, true);
document.addEventListener("pointerdown", () => { pressed = null; }, true);

/** A handler for what moves something: a press of pointer or Space, never Enter. */
export const byPress = (act) => (event) => {
  if (event.detail > 0 || pressed !== "Enter") act(event);
};

export const time = (iso) => {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? "–" : at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
};
export const dateTime = (iso) => {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "–";
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? time(iso) : `${at.toLocaleDateString()} ${time(iso)}`;
};
export const percent = (share) => `${Number((share * 100).toPrecision(2))} %`;
export const span = (seconds) =>
  seconds < 120 ? `${Math.ceil(seconds)} s` : seconds < 7_200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3_600)} h`;
export const count = (number) => Number(number ?? 0).toLocaleString("en");
