// Drives the browser client from lines of JSON, as client.mjs does the official one:
//   {"do":"connect","id","options":{…}}  {"do":"call","id","call","method","args":[…]} 
//   {"do":"proxy","id","to"}  {"do":"break","id"}  {"do":"close","id"}
// and reports {"id","on":EVENT,"args":[value]}, {"call","ack":[{"ok":true,"value"} | {"ok":false,"name","error"}]}.
import { createServer, connect as dial } from "node:net";
import { createInterface } from "node:readline";
import { connect } from "../../clients/web/dist/index.js";

const EVENTS = ["message:new", "message:update", "dialog:update", "user:update", "counters", "typing", "update",
  "bridge:resync", "status", "join:failed", "error"];
const clients = new Map();
const proxies = new Map();
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const actions = {
  // With `tokens`, `getToken` gives one after the other, and the last again and again.
  connect({ id, options: { tokens, ...options } }) {
    if (tokens !== undefined) {
      options.getToken = async () => {
        say({ id, on: "token", args: [tokens.length] });
        return tokens.length > 1 ? tokens.shift() : tokens[0];
      };
    }
    const client = connect(options);
    clients.set(id, client);
    for (const event of EVENTS) client.on(event, (value) => say({ id, on: event, args: [value] }));
  },
  async call({ id, call, method, args }) {
    try {
      say({ call, ack: [{ ok: true, value: (await clients.get(id)[method](...args)) ?? null }] });
    } catch (error) {
      say({ call, ack: [{ ok: false, name: error.name, error: error.message }] });
    }
  },
  // A way to the bridge that can be broken; its address is reported as event `proxy`.
  proxy({ id, to }) {
    const { hostname, port } = new URL(to);
    const open = new Set();
    const server = createServer((near) => {
      const far = dial(Number(port), hostname);
      for (const [socket, other] of [[near, far], [far, near]]) {
        open.add(socket);
        socket.on("error", () => other.destroy()).on("close", () => open.delete(socket) && other.destroy());
        socket.pipe(other);
      }
    });
    proxies.set(id, open);
    server.listen(0, "127.0.0.1", () => say({ id, on: "proxy", args: [`http://127.0.0.1:${server.address().port}`] }));
  },
  // Breaks all connections over it, as a lost network does.
  break({ id }) {
    for (const socket of proxies.get(id)) socket.destroy();
  },
  close({ id }) {
    clients.get(id).close();
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    actions[command.do](command);
  })
  .on("close", () => process.exit(0));
