// Drives the demo's chat page: node chat.mjs stages JSON. Prints {"done":{…}} or {"failed":TEXT}.
import { browser, findings } from "./browser.mjs";

const { url, shots, name } = JSON.parse(process.argv[3]);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const stageIs = (page, stage) =>
  page.waitForFunction((stage) => document.querySelector("#stages .on")?.textContent === stage, stage);

async function stages() {
  const { page, context, faults, close } = await browser();
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll("main section").length === 2
    && [...document.querySelectorAll("main section")].every((pane) => pane.querySelectorAll("[data-message]").length > 1));
  // Every line that a pane shows, as it comes: kept in the page.
  const sent = [];
  let number = 0;
  let talks = true;
  const traffic = (async () => {
    while (talks) {
      const text = `line ${(number += 1)} of the test`;
      const pane = page.locator("main section").nth(number % 2);
      await pane.locator("input").fill(text);
      await pane.locator("input").press("Enter");
      sent.push(text);
      await sleep(150);
    }
  })();
  const traffic_is = async (more) => {
    const before = sent.length;
    while (sent.length < before + more) await sleep(50);
  };
  await traffic_is(5);
  await page.click("#back");
  await stageIs(page, "legacy");
  for (const stage of ["shadow", "live", "complete"]) {
    await traffic_is(8);
    await page.click("#forward:not([disabled])");
    await stageIs(page, stage);
    if (shots) await page.screenshot({ path: `${shots}/chat-${name}-${stage}.png` });
  }
  await traffic_is(8);
  await page.click("#back");
  await stageIs(page, "legacy");
  await traffic_is(8);
  talks = false;
  await traffic;
  const shown = () => page.evaluate(() => [...document.querySelectorAll("main section")].map((pane) =>
    [...pane.querySelectorAll("[data-message]")].map((item) => ({ text: item.firstChild.textContent.replace(/^[^:]*: /, ""), how: item.querySelector(".how").className }))));
  for (let tries = 0; tries < 300; tries++) {
    const panes = await shown();
    if (panes.every((lines) => sent.every((text) => lines.some((line) => line.text === text)))) break;
    await sleep(200);
  }
  // What comes twice comes by then.
  await sleep(6_000);
  const panes = await shown();
  const times = (lines, text) => lines.filter((line) => line.text === text).length;
  const [lost, doubled] = [0, 2].map((wrong) =>
    panes.flatMap((lines) => sent.filter((text) => (wrong ? times(lines, text) >= wrong : times(lines, text) === 0))));
  const own = panes.flat().filter(({ text }) => sent.includes(text));
  // A planted fault, over to the console.
  await page.click("#forward:not([disabled])");
  await stageIs(page, "shadow");
  await sleep(1_000);
  await page.click("#faults button:has-text('#altered')");
  const opens = context.waitForEvent("page");
  await page.click("#console");
  const consolePage = await opens;
  await consolePage.click("#nav a[href='#/compare']");
  await consolePage.click("#classes button[data-class=payload_mismatch]");
  await consolePage.click("#records td a[href^='#/record/'] .bad", { timeout: 90_000 });
  await consolePage.waitForSelector(".sides td.differs");
  const planted = (await consolePage.innerText("#record h2")).replace(/^\W+/, "").split(/\s/)[0];
  const revealed = await consolePage.innerText(".sides");
  if (!revealed.includes("(altered)")) faults.push("the content is not revealed");
  const serious = await findings(page);
  await page.emulateMedia({ colorScheme: "dark" });
  await page.setViewportSize({ width: 360, height: 740 });
  serious.push(...await findings(page));
  if (await page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")) serious.push("wider than a phone");
  if (shots) await page.screenshot({ path: `${shots}/chat-${name}-phone.png` });
  await close();
  return {
    messages: sent.length, lost, doubled, planted, found: [...faults, ...serious],
    by_room: own.filter(({ how }) => how.includes("room")).length, by_queue: own.filter(({ how }) => how.includes("queue")).length,
  };
}

try {
  say({ done: await stages() });
  process.exit(0);
} catch (error) {
  say({ failed: String(error.stack ?? error) });
  process.exit(1);
}
