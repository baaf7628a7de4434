// Runs the JavaScript of migrations-docs/09-clients.md as it stands, on lines of JSON:
//   {"do":"run","id","snippet":NUMBER,"given":{"url","token","dialog"}}
// What a snippet calls that is the page's own is reported: {"id","on":"show"|"reload"|"running","args":[…]}.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const doc = readFileSync(new URL("../../migrations-docs/09-clients.md", import.meta.url), "utf8");
const snippets = [...doc.matchAll(/^```js\n([^]*?)^```/gm)].map(([, code]) => code);
const packages = {
  "updates-bridge-client": new URL("../../clients/web/dist/index.js", import.meta.url).href,
  "socket.io-client": import.meta.resolve("socket.io-client"),
};
const folder = mkdtempSync(join(tmpdir(), "snippets-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

async function run({ id, snippet, given }) {
  const page = {
    ...given,
    getToken: async () => given.token,
    show: (message) => say({ id, on: "show", args: [message] }),
    reloadOverRest: (since) => say({ id, on: "reload", args: [since ?? null] }),
    report: (problem) => say({ id, on: "report", args: [problem ?? null] }),
  };
  let code = snippets[snippet];
  for (const [name, path] of Object.entries(packages)) code = code.replace(`from "${name}"`, `from "${path}"`);
  const imports = code.match(/^import .*$/gm).join("\n");
  code = code.replace(/^import .*$/gm, "");
  const file = join(folder, `${id.replaceAll(" ", "-")}.mjs`);
  writeFileSync(file, `${imports}\nexport default async function ({ ${Object.keys(page)} }) {\n${code}\n}\n`);
  const { default: start } = await import(pathToFileURL(file).href);
  start(page).catch((error) => say({ id, on: "failed", args: [String(error)] }));
  say({ id, on: "running", args: [null] });
}

createInterface({ input: process.stdin })
  .on("line", (line) => void run(JSON.parse(line)))
  .on("close", () => process.exit(0));
