// Packs the client, installs the archive into an empty Vite project, checks its types there and builds.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "empty-vite-"));
const run = (folder, command, ...args) => execFileSync(command, args, { cwd: folder, stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
try {
  const archive = run(root, "npm", "pack", "--silent", "--pack-destination", project).trim().split("\n").at(-1);
  const page = `import { connect, MembershipError, type Message } from "updates-bridge-client";

const chat = connect({ url: location.origin, token: "…" });
chat.on("message:new", (message: Message) => document.body.append(message.content));
// @ts-expect-error: an event that there is not
chat.on("message:old", () => {});
chat.join("dlg_1").catch((error: unknown) => console.log(error instanceof MembershipError));
`;
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
  writeFileSync(join(project, "index.html"), `<!doctype html><script type="module" src="/main.ts"></script>`);
  writeFileSync(join(project, "main.ts"), page);
  const options = { target: "ES2022", module: "preserve", moduleResolution: "bundler", strict: true, noEmit: true, lib: ["ES2022", "DOM"], types: [] };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: options, include: ["main.ts"] }));
  run(project, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error", `./${archive}`, "vite", "typescript");
  run(project, "npx", "tsc");
  run(project, "npx", "vite", "build", "--logLevel", "error");
  const built = readdirSync(join(project, "dist/assets"));
  if (!built.some((name) => name.endsWith(".js"))) throw new Error(`nothing built: ${built}`);
  console.log(`${archive}: installed, types checked and built in an empty Vite project`);
} finally {
  rmSync(project, { recursive: true, force: true });
}
