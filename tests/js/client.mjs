// Official socket.io clients, driven by JSON lines on standard input:
//   {"do":"connect","id","url","options"}   {"do":"emit","id","call","event","args":[…]}   {"do":"close","id"}
// and reporting on standard output: {"id","on":"connect"|"disconnect"|"connect_error"|EVENT,"args":[…],"at"} and
// {"call","ack":[…]}.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const sockets = new Map();
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const actions = {
  // With `authAfter` (ms), `auth` is asked for by a callback that takes its time.
  connect({ id, url, options: { authAfter, ...options } }) {
    if (authAfter !== undefined) {
      const { auth } = options;
      options.auth = (answer) => setTimeout(() => answer(auth), authAfter);
    }
    const socket = io(url, { reconnectionDelay: 50, reconnectionDelayMax: 200, forceNew: true, ...options });
    sockets.set(id, socket);
    const report = (on, args) => say({ id, on, args, at: Date.now() });
    socket.on("connect", () => report("connect", [socket.id]));
    socket.on("disconnect", (reason) => report("disconnect", [reason]));
    socket.on("connect_error", (error) => report("connect_error", [error.message]));
    socket.onAny((event, ...args) => report(event, args));
  },
  emit({ id, call, event, args }) {
    const socket = sockets.get(id);
    if (call === undefined) socket.emit(event, ...args);
    else socket.timeout(20_000).emit(event, ...args, (error, ...ack) => say({ call, ack: error ? ["timeout"] : ack }));
  },
  close({ id }) {
    sockets.get(id).disconnect();
  },
  // Breaks the transport, as a lost network does: the client comes back by itself.
  break({ id }) {
    sockets.get(id).io.engine.close();
  },
  // Says which transport the client is on, as event `transport`.
  transport({ id }) {
    say({ id, on: "transport", args: [sockets.get(id).io.engine.transport.name], at: Date.now() });
  },
  auth({ id, auth }) {
    sockets.get(id).auth = auth;
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    actions[command.do](command);
  })
  .on("close", () => process.exit(0));
