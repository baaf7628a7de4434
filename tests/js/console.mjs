// Drives the console as people do: node console.mjs SCENARIO JSON. Asks its owner for deeds by lines {"ask":WHAT} and
// waits for a line of answer; at the end {"done":{…}}, or {"failed":TEXT}.
import { createInterface } from "node:readline";
import { browser, findings } from "./browser.mjs";

const [scenario, settings] = [process.argv[2], JSON.parse(process.argv[3])];
const { url, token, shots } = settings;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
async function ask(what) {
  say({ ask: what });
  return (await lines.next()).value;
}
const check = (holds, text) => {
  if (!holds) throw new Error(text);
};
const wait = (page, look, text, timeout = 60_000) =>
  page.waitForFunction(look, undefined, { timeout }).catch(() => { throw new Error(`${text}: not within ${timeout} ms`); });
const shot = async (page, name) => {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
};

/** A page that is signed in and has its first moment. */
async function open(options = {}, path = "") {
  const opened = await browser(options);
  // The token stays in its tab; typing it is tried once, in `walk`.
  if (token) await opened.context.addInitScript((given) => sessionStorage.setItem("token", given), token);
  await opened.page.goto(`${url}${path}`);
  await wait(opened.page, () => document.querySelector("#connection")?.textContent === "live", "the console is live");
  return opened;
}

const PAGES = ["now", "flip", "compare", "audit", "sessions"];
const READY = { now: "#nodes .rail", flip: "#preflight .checks", compare: "#records tr", audit: "#chain strong", sessions: "#sessions tr" };

const scenarios = {
  /** Every page, in light, dark and on a phone: no error, nobody else asked, no serious finding, nothing cut off. */
  async walk() {
    const views = {
      light: { colorScheme: "light" }, dark: { colorScheme: "dark" },
      phone: { colorScheme: "dark", viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true },
    };
    const found = [];
    for (const [view, options] of Object.entries(views)) {
      const { page, faults, close } = await open(options);
      for (const name of PAGES) {
        await page.goto(`${url}#/${name}`);
        await page.waitForSelector(READY[name]);
        const [serious, isWide, inView] = [await findings(page),
          await page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"), await page.isVisible("#rollback")];
        await shot(page, `${view}-${name}`);
        if (name === "now") {
          // By keyboard alone: the first stop leads past the header, and stays on the page.
          await page.focus(".skip");
          await page.keyboard.press("Enter");
          if (await page.evaluate("document.activeElement.id") !== "main") found.push(`${view}: no way past the header`);
          if (!page.url().endsWith("#/now")) found.push(`${view}: the way past the header leaves the page`);
        }
        found.push(...serious.map((text) => `${view} ${name}: ${text}`));
        if (isWide) found.push(`${view} ${name}: wider than the window`);
        if (!inView) found.push(`${view} ${name}: no rollback in reach`);
      }
      found.push(...faults);
      await close();
    }
    return { found };
  },

  /** Somebody who has no token is asked for it. */
  async signIn() {
    const { page, close } = await browser();
    await page.goto(url);
    await page.fill("#token", settings.given);
    await page.press("#token", "Enter");
    await wait(page, () => document.querySelector("#connection").textContent === "live", "live after signing in");
    check(await page.isHidden("#sign-in"), "nobody is asked for a token any more");
    await close();
    return {};
  },

  /** A planted mismatch, by clicks from the first page; its link in a fresh browser. */
  async find() {
    const { page, faults, close } = await open();
    let clicks = 0;
    const click = async (selector) => {
      await page.click(selector);
      clicks += 1;
    };
    await click("#nav a[href='#/compare']");
    // What came last is on top, before anything is asked for: the mismatch is of the last message, which two users got.
    await page.waitForSelector("#records td a[href^='#/record/'] .bad");
    const top = await page.evaluate(() => [...document.querySelectorAll("#records tbody tr")].slice(0, 2).map((row) => row.querySelector(".bad") !== null));
    check(top.includes(true), "the newest records come first");
    await click("#classes button[data-class=payload_mismatch]");
    await click("#records td a[href^='#/record/'] .bad");
    await page.waitForSelector(".sides td.differs");
    const link = page.url();
    const read = (page) => page.evaluate(() => ({
      title: document.querySelector("#record h2").innerText,
      differs: [...document.querySelectorAll(".sides td.differs")].map((cell) => cell.innerText),
      sides: [...document.querySelectorAll(".sides th[scope=col]")].map((cell) => cell.innerText),
      redaction: document.querySelector("[data-redaction]").innerText,
      json: JSON.parse(document.querySelector("#record details pre").textContent),
    }));
    const seen = await read(page);
    await shot(page, "record");
    const serious = await findings(page);
    await close();
    const fresh = await open({}, link.slice(url.length));
    await fresh.page.waitForSelector(".sides td.differs");
    const again = await read(fresh.page);
    faults.push(...fresh.faults);
    await fresh.close();
    check(JSON.stringify(again) === JSON.stringify(seen), "a fresh browser shows the same");
    return { clicks, seen, found: [...faults, ...serious] };
  },

  /** A record of a time in which content is revealed: both copies, field by field. */
  async revealed() {
    const { page, faults, close } = await open({}, `#/record/${settings.id}`);
    await page.waitForSelector(".bodies td.differs");
    const fields = await page.evaluate(() => Object.fromEntries([...document.querySelectorAll(".bodies tr[data-field]")].map((row) =>
      [row.dataset.field, { differs: row.querySelector(".differs") !== null, sides: [...row.querySelectorAll("td")].map((cell) => cell.innerText) }])));
    const redaction = await page.innerText("[data-redaction]");
    await shot(page, "record-revealed");
    const serious = await findings(page);
    await close();
    return { fields, redaction, found: [...faults, ...serious] };
  },

  /** Dry run, typed confirmation, Enter; then back. */
  async flip() {
    const { page, faults, close } = await open({}, "#/flip");
    await page.waitForSelector("#preflight .checks");
    const stage = () => page.evaluate(async (token) => (await (await fetch("admin/flag", { headers: { authorization: `Bearer ${token}` } })).json()).stage, token);
    const before = await stage();
    await page.click("#forward");
    check(await page.isHidden("#confirm"), "without actor and reason nothing is asked");
    await page.fill("#actor", "on call");
    await page.fill("#reason", "tried in a browser");
    await page.click("#plan");
    await page.waitForSelector("#answer ol li");
    const plan = await page.innerText("#answer");
    check(await stage() === before, "a dry run moves nothing");
    await shot(page, "flip-dry-run");
    await page.focus("#forward");
    await page.keyboard.press("Enter");
    check(await page.isHidden("#confirm"), "Enter opens nothing");
    await page.keyboard.press("Space");
    await page.waitForSelector("#confirm[open]");
    const text = await page.innerText("#confirm-text");
    check(await page.isDisabled("#confirm-go"), "the name has to be typed");
    await page.fill("#confirm-name", "complete");
    check(await page.isDisabled("#confirm-go"), "another name does not do");
    await page.fill("#confirm-name", settings.to);
    const serious = await findings(page);
    await shot(page, "flip-confirm");
    await page.keyboard.press("Enter");
    await page.focus("#confirm-go");
    await page.keyboard.press("Enter");
    await page.waitForTimeout(500);
    check(await stage() === before, "Enter never flips");
    await page.keyboard.press("Space");
    await page.waitForFunction((to) => document.querySelector("#flip-title strong")?.textContent === to, settings.to);
    check(await stage() === settings.to, "it moved");
    await page.focus("#back button");
    await page.keyboard.press("Enter");
    await page.waitForTimeout(500);
    check(await stage() === settings.to, "Enter does not go back either");
    await page.click("#back button");
    await page.waitForFunction((to) => document.querySelector("#flip-title strong")?.textContent === to, before);
    await page.goto(`${url}#/audit`);
    await page.waitForSelector("#entries tr td");
    const audit = await page.innerText("#main");
    await close();
    return { plan, text, audit, found: [...faults, ...serious] };
  },

  /** The broker dies, then everything is rolled back; then the server goes. */
  async incident() {
    const { page, faults, close } = await open();
    await page.waitForSelector("#nodes .rail");
    await ask("kill the broker");
    const died = Date.now();
    await wait(page, () => [...document.querySelectorAll(".banner.bad")].some(({ innerText }) => innerText.includes("RabbitMQ is down")), "a banner");
    const banner_ms = Date.now() - died;
    await shot(page, "incident");
    const serious = await findings(page);
    await page.focus("#rollback");
    await page.keyboard.press("Enter");
    await page.waitForTimeout(500);
    check(!(await page.innerText("#banners")).includes("Rolled back"), "Enter does not roll back");
    const pressed = Date.now();
    await page.click("#rollback");
    await wait(page, () => document.querySelector(".banner.good")?.innerText.includes("Rolled back"), "the rollback is answered");
    const rollback_ms = Date.now() - pressed;
    await wait(page, () => [...document.querySelectorAll(".rail .on")].every(({ innerText }) => innerText === "legacy"), "every node is in legacy");
    const rails = await page.locator(".rail .on").allInnerTexts();
    const own = [...faults];
    await ask("stop the server");
    await wait(page, () => document.body.classList.contains("lost") && /No connection/.test(document.querySelector("#banners").innerText), "the loss is said");
    check(Number(await page.evaluate("getComputedStyle(document.querySelector('main')).opacity")) < 1, "what is old is dimmed");
    await shot(page, "lost");
    await close();
    return { banner_ms, rollback_ms, rails, found: [...own, ...serious] };
  },
};

try {
  say({ done: await scenarios[scenario]() });
  process.exit(0);
} catch (error) {
  say({ failed: String(error.stack ?? error) });
  process.exit(1);
}
