#!/bin/sh
# Runs a private RabbitMQ node on loopback until its standard input ends, then takes it down with everything it left.
#   rabbit-node.sh DIR AMQP_PORT EPMD_PORT DIST_PORT
# Prints `ready PID` when it accepts clients; a line `restart` on standard input starts the node anew on the same ports.
set -eu
dir=$1 port=$2 epmd_port=$3 dist_port=$4

# The commands in PATH switch to the system's rabbitmq user; those behind them run as whoever calls.
sbin=${RABBITMQ_SBIN:-}
if [ -z "$sbin" ]; then
  found=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2>/dev/null | tail -n 1) || found=
  [ -n "$found" ] || { found=$(command -v rabbitmqctl) && found=$(dirname "$(readlink -f "$found")"); }
  sbin=$found
fi
[ -x "$sbin/rabbitmq-server" ] || { echo "RabbitMQ is not installed: run scripts/test, which installs it" >&2; exit 2; }

mkdir -p "$dir/home" "$dir/mnesia" "$dir/log"
chmod 700 "$dir"
od -An -N20 -tx1 /dev/urandom | tr -d ' \n' >"$dir/home/.erlang.cookie"
chmod 400 "$dir/home/.erlang.cookie"
echo '[].' >"$dir/enabled_plugins"
: >"$dir/env.conf"
printf '%s\n' 'log.file.level = warning' 'disk_free_limit.absolute = 50MB' >"$dir/rabbitmq.conf"

# Nothing of the caller's RabbitMQ settings may leak in.
for name in $(env | sed -n 's/^\(RABBITMQ_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
export HOME="$dir/home" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
  RABBITMQ_NODENAME="bridge$port@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" \
  RABBITMQ_DIST_PORT="$dist_port" RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log" \
  RABBITMQ_PID_FILE="$dir/pid" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
  RABBITMQ_CONF_ENV_FILE="$dir/env.conf" RABBITMQ_CONFIG_FILE="$dir/rabbitmq" \
  ERL_EPMD_RELAXED_COMMAND_CHECK=1 RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
cd "$dir"
printf '#!/bin/sh\nexec env HOME=%s ERL_EPMD_PORT=%s ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME=%s RABBITMQ_CONF_ENV_FILE=%s %s -n %s "$@"\n' \
  "$HOME" "$epmd_port" "$RABBITMQ_NODENAME" "$dir/env.conf" "$sbin/rabbitmqctl" "$RABBITMQ_NODENAME" >"$dir/ctl"
chmod 700 "$dir/ctl"

start() {
  rm -f "$dir/pid"
  "$sbin/rabbitmq-server" >>"$dir/log/out" 2>&1 </dev/null &
  tries=0
  until "$dir/ctl" -q -t 5 await_startup >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "no node:" >&2; tail -n 20 "$dir/log/out" >&2; exit 1; }
    sleep 0.2
  done
  echo "ready $(cat "$dir/pid")"
}

stop() {
  [ ! -f "$dir/pid" ] || kill -9 "$(cat "$dir/pid")" 2>/dev/null || :
  epmd=$(command -v epmd || ls -d "$sbin"/../../../../erlang/erts-*/bin/epmd 2>/dev/null | head -n 1) || epmd=
  [ -z "$epmd" ] || "$epmd" -port "$epmd_port" -kill >/dev/null 2>&1 || :
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 143' INT TERM HUP

start
while read -r line; do
  [ "$line" != restart ] || start
done
