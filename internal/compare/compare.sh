#!/usr/bin/env bash
# Runs udprelay beside the limit (limitrelay.c, the least that a C program can
# do) and the baseline (a plain ReadFromUDP and WriteToUDP loop in Go), in turn,
# several rounds, and prints medians and ratios as a table.
#
#   compare.sh [ROUNDS [SECONDS]]    default: 5 rounds of 3 seconds each
#
# The load generator has core 0 and the relay core 1; the sinks drop every
# datagram in a socket filter and are counted by the kernel. The time that a
# relay took is read from /proc/PID/task/*/schedstat.
set -euo pipefail
export LC_ALL=C
rounds=${1:-5} seconds=${2:-3}
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
relay=""
trap '[ -z "$relay" ] || kill "$relay" 2>/dev/null; rm -rf "$work"' EXIT

cc -O2 -o "$work/fanbench" internal/compare/fanbench.c
cc -O2 -o "$work/limitrelay" internal/compare/limitrelay.c
go build -o "$work/udprelay" .
go build -o "$work/plainloop" ./internal/plainloop/plainloop

port=19000
# one NAME RATE SENDERS COMMAND...: one run; PORT in the command is replaced
one() {
	local name=$1 rate=$2 senders=$3 before after out delivered
	shift 3
	port=$((port + 1))
	taskset -c 1 "${@//PORT/$port}" >"$work/log" 2>&1 &
	relay=$!
	until grep -qi "$(printf ':%04X ' $port)" /proc/net/udp /proc/net/udp6; do sleep 0.02; done
	before=$(ran)
	out=$(taskset -c 0 "$work/fanbench" drive $port 100 "$size" "$rate" "$seconds" "$senders")
	after=$(ran)
	kill "$relay" && wait "$relay" 2>/dev/null || true
	relay=""
	delivered=$(sed 's/.* delivered=\([0-9]*\).*/\1/' <<<"$out")
	echo "$name $(sed 's/.* out_pps=\([0-9]*\).*/\1/' <<<"$out") $(((after - before) / (delivered + 1)))" >>"$work/results"
}
ran() { awk '{ sum += $1 } END { printf "%d", sum }' /proc/"$relay"/task/*/schedstat; } # nanoseconds

# scenario TITLE RATE SENDERS RELAY...
scenario() {
	local title=$1 rate=$2 senders=$3
	shift 3
	: >"$work/results"
	for _ in $(seq "$rounds"); do
		for name in "$@"; do
			case $name in
			udprelay) one udprelay "$rate" "$senders" "$work/udprelay" serve --listen :PORT --log-level error ;;
			trains-off) one trains-off "$rate" "$senders" "$work/udprelay" serve --listen :PORT --log-level error --trains off ;;
			limit-gso) one limit-gso "$rate" "$senders" "$work/limitrelay" PORT gso 64 ;;
			limit-mmsg) one limit-mmsg "$rate" "$senders" "$work/limitrelay" PORT mmsg 64 ;;
			plainloop) one plainloop "$rate" "$senders" "$work/plainloop" PORT ;;
			esac
		done
	done
	echo
	echo "$title"
	echo
	echo "| relay | deliveries/s | ns of processor time per delivery | deliveries, udprelay = 1 | time, udprelay = 1 |"
	echo "| --- | ---: | ---: | ---: | ---: |"
	awk '
		function median(list,   n, x, i, j, t) {
			n = split(list, x, " ")
			for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (x[j] + 0 < x[i] + 0) { t = x[i]; x[i] = x[j]; x[j] = t }
			return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
		}
		{ if (!($1 in rate)) order[++count] = $1; rate[$1] = rate[$1] " " $2; time[$1] = time[$1] " " $3 }
		END {
			for (k = 1; k <= count; k++) {
				name = order[k]
				printf "| %s | %d | %d | %.2f | %.2f |\n", name, median(rate[name]), median(time[name]),
					median(rate[name]) / median(rate["udprelay"]), median(time[name]) / median(time["udprelay"])
			}
		}' "$work/results"
}

echo "$(uname -sr), $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1), $(go version | cut -d' ' -f3), medians of $rounds rounds of $seconds s"
size=200
scenario "Burst: 200 bytes, 100 peers, one sender that never waits" 0 1 udprelay limit-gso plainloop trains-off limit-mmsg
scenario "Paced: 200 bytes, 100 peers, 1,000 datagrams a second" 1000 1 udprelay limit-mmsg plainloop
size=400
export MIX=1
scenario "Mixed: 40 to 400 bytes, 100 peers, twenty senders that never wait" 0 20 udprelay limit-mmsg plainloop
