#!/bin/sh
# Restarts services of udprelay that run, after an upgrade:
#
#   restart COMMAND SERVICE...
#
# COMMAND is systemctl, or what asks policy-rc.d before. A relay whose configuration
# the new program finds mistakes in goes on as it is: it would not start again.
set -u
command=$1
shift

# check FILE PROCESS has the new program check a configuration, as the user of the
# process, with its environment. The code is 123 (xargs) if there are mistakes.
check() {
	# shellcheck disable=SC2016 # expanded inside
	grep -z '^UDPRELAY_' "/proc/$2/environ" | xargs -0 setpriv --reuid="$(stat -c %u "/proc/$2")" --regid="$(stat -c %g "/proc/$2")" --clear-groups \
		sh -c 'exec env "$@" /usr/bin/udprelay check --quiet "$0"' "$1" 2>&1
}

for service; do
	process=$(systemctl show --property=MainPID "$service")
	process=${process#MainPID=}
	[ "${process:-0}" -gt 0 ] || continue # it is being started again
	file=$(tr '\0' '\n' <"/proc/$process/cmdline" | sed -n '/^--config$/{n;p;q;}')
	if [ -n "$file" ]; then
		mistakes=$(check "$file" "$process")
		if [ $? -eq 123 ]; then
			echo "$service goes on without this upgrade, for it would not start again:"
			echo "$mistakes"
			echo "After mending that: systemctl restart $service"
			continue
		fi
	fi
	"$command" try-restart "$service" >/dev/null || :
done
