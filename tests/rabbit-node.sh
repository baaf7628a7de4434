#!/bin/sh
# Runs a private RabbitMQ node on loopback until its standard input ends, then takes it down with everything it left.
#   rabbit-node.sh DIR AMQP_PORT EPMD_PORT DIST_PORT [MANAGEMENT_PORT]
# With RABBITMQ_ROOT=FOLDER (scripts/rabbitmq-4 makes one) the RabbitMQ of that folder runs, which is a system of its own.
# Nodes with the same NODE_COOKIE and EPMD_PORT can be joined to one broker.
# Prints `ready PID` when it accepts clients; a line `restart` on standard input starts the node anew on the same ports.
set -eu
dir=$1 port=$2 epmd_port=$3 dist_port=$4 management_port=${5:-}

# The commands in PATH switch to the system's rabbitmq user; those behind them run as whoever calls.
root=${RABBITMQ_ROOT:-} sbin=${RABBITMQ_SBIN:-}
if [ -n "$root" ]; then
  sbin=$(ls -d "$root"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2>/dev/null | tail -n 1) || :
  [ -n "$sbin" ] || { echo "there is no RabbitMQ in RABBITMQ_ROOT=$root: run scripts/rabbitmq-4" >&2; exit 2; }
elif [ -z "$sbin" ]; then
  found=$(ls -d /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin 2>/dev/null | tail -n 1) || found=
  [ -n "$found" ] || { found=$(command -v rabbitmqctl) && found=$(dirname "$(readlink -f "$found")"); }
  sbin=$found
fi
[ -x "$sbin/rabbitmq-server" ] || { echo "RabbitMQ is not installed: run scripts/test, which installs it" >&2; exit 2; }

# How a command of RabbitMQ is run: from a folder with what it needs of this system mounted, for this command alone.
within=
if [ -n "$root" ]; then
  sbin=${sbin#"$root"} within="$dir/within"
fi

mkdir -p "$dir/home" "$dir/mnesia" "$dir/log"
chmod 700 "$dir"
if [ -n "${NODE_COOKIE:-}" ]; then printf %s "$NODE_COOKIE"; else od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; fi >"$dir/home/.erlang.cookie"
chmod 400 "$dir/home/.erlang.cookie"
echo '[].' >"$dir/enabled_plugins"
: >"$dir/env.conf"
printf '%s\n' 'log.file.level = warning' 'disk_free_limit.absolute = 50MB' >"$dir/rabbitmq.conf"
if [ -n "$management_port" ]; then
  echo '[rabbitmq_management].' >"$dir/enabled_plugins"
  printf '%s\n' 'management.tcp.ip = 127.0.0.1' "management.tcp.port = $management_port" >>"$dir/rabbitmq.conf"
fi

if [ -n "$root" ]; then
  cat >"$within" <<SH
#!/bin/sh
exec unshare --mount sh -c '
  set -e
  for own in proc dev; do mount --rbind /\$own "$root/\$own"; done
  mount --bind /etc/hosts "$root/etc/hosts"
  mount --bind "$dir" "$root$dir"
  exec chroot "$root" "\$@"' sh "\$@"
SH
  chmod 700 "$within"
  touch "$root/etc/hosts"
  mkdir -p "$root$dir"
fi

# Nothing of the caller's RabbitMQ settings may leak in.
for name in $(env | sed -n 's/^\(RABBITMQ_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
export HOME="$dir/home" ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
  RABBITMQ_NODENAME="bridge$port@localhost" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT="$port" \
  RABBITMQ_DIST_PORT="$dist_port" RABBITMQ_MNESIA_BASE="$dir/mnesia" RABBITMQ_LOG_BASE="$dir/log" \
  RABBITMQ_PID_FILE="$dir/pid" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/enabled_plugins" \
  RABBITMQ_CONF_ENV_FILE="$dir/env.conf" RABBITMQ_CONFIG_FILE="$dir/rabbitmq" \
  ERL_EPMD_RELAXED_COMMAND_CHECK=1 RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
cd "$dir"
printf '#!/bin/sh\nexec env HOME=%s ERL_EPMD_PORT=%s ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME=%s RABBITMQ_CONF_ENV_FILE=%s %s %s -n %s "$@"\n' \
  "$HOME" "$epmd_port" "$RABBITMQ_NODENAME" "$dir/env.conf" "$within" "$sbin/rabbitmqctl" "$RABBITMQ_NODENAME" >"$dir/ctl"
chmod 700 "$dir/ctl"

start() {
  rm -f "$dir/pid"
  $within "$sbin/rabbitmq-server" >>"$dir/log/out" 2>&1 </dev/null &
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
  [ -n "$epmd" ] || [ -z "$root" ] || epmd="$within epmd"
  [ -z "$epmd" ] || $epmd -port "$epmd_port" -kill >/dev/null 2>&1 || :
  [ -z "$root" ] || rmdir "$root$dir" "$(dirname "$root$dir")" 2>/dev/null || :
  rm -rf "$dir"
}
trap stop EXIT
trap 'exit 143' INT TERM HUP

start
while read -r line; do
  [ "$line" != restart ] || start
done
