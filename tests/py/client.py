"""python-socketio's client: `client.py URL AUTH` (JSON). Reports as client.mjs does; ends with its standard input."""

import json
import sys
import threading
import time

import socketio


LOCK = threading.Lock()


def say(on, args):
    # Handlers have threads of their own.
    with LOCK:
        print(json.dumps({"id": "py", "on": on, "args": args}), flush=True)


client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.5, request_timeout=3)
client.on("connect", lambda: say("connect", [client.transport()]))
client.on("disconnect", lambda *args: say("disconnect", [str(arg) for arg in args]))
client.on("connect_error", lambda *args: say("connect_error", [str(arg) for arg in args]))
client.on("*", lambda event, *args: say(event, list(args)))


def run():
    url, auth = sys.argv[1:3]
    client.connect(url, auth=json.loads(auth))
    client.wait()


threading.Thread(target=run, daemon=True).start()
for line in sys.stdin:
    if line.strip() == "transport":
        say("transport", [client.transport()])
