// Bundles the client with Socket.IO for pages without a build step: the demo's chat. With --check it only says whether
// the file that is checked in is what the sources make.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = new URL("..", import.meta.url);
const target = new URL("../../console/chat-client.js", root);
const version = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, root), "utf8")).version;
const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL("src/index.ts", root))],
  bundle: true,
  format: "esm",
  minify: true,
  write: false,
  legalComments: "none",
  charset: "utf8",
  banner: { js: `// Made by 'npm run bundle' in clients/web; with socket.io-client ${version("socket.io-client")} (MIT, © Guillermo Rauch).` },
});
const [{ text }] = outputFiles;
if (process.argv.includes("--check")) {
  if (readFileSync(target, "utf8") !== text) {
    console.error("console/chat-client.js is older than clients/web: run 'npm run bundle' there");
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
