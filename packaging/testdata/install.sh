#!/bin/sh
# Installs, upgrades, removes and purges a .deb in a copy of this machine's root
# (an overlay that is thrown away), where no systemd runs, and says what is not
# as it should be. To be called in a mount namespace of its own:
#
#   unshare --mount --propagation private sh install.sh PACKAGE DIRECTORY
set -eu
package=$1 place=$2

mount -t tmpfs tmpfs "$place"
cd "$place"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir="$place/upper",workdir="$place/work" overlay root
mount --rbind /dev root/dev
mount -t proc proc root/proc
mount -t tmpfs tmpfs root/run
mount -t tmpfs tmpfs root/tmp
cp "$package" root/tmp/old.deb

# The same with a later version, and another default configuration.
mkdir later
dpkg-deb -R "$package" later
sed -i 's/^Version: .*/&+later/' later/DEBIAN/control
echo '# later' >>later/etc/udprelay/udprelay.yaml
dpkg-deb --root-owner-group -b later root/tmp/later.deb >/dev/null
rm -r later

fail() { echo "$step: $*"; failed=1; }
is() { "$@" || fail "want: $*"; }
isnt() { ! "$@" || fail "want not: $*"; }
run() { DEBIAN_FRONTEND=noninteractive chroot root "$@" >>log 2>&1 || { fail "$* failed"; tail -20 log; }; }
# shellcheck disable=SC2086 # with wildcards; a dangling link is there, too
at() { ls -d root$1 >/dev/null 2>&1; }
failed=0
units=/etc/systemd/system
link=$units/multi-user.target.wants/udprelay.service

# Everything of ours, and what is in the places that are watched; before and after.
list() {
	(cd root && find etc lib usr/bin usr/lib/systemd usr/share var/lib/private var/lib/systemd run \
		! -name '*.cache' ! -path 'usr/share/info/*' 2>/dev/null | sort
	find var -name '*udprelay*' ! -path '*/dpkg/*')
}

step="before"
isnt at "$link"
list >before

step="first installation"
run dpkg -i /tmp/old.deb
is at /usr/bin/udprelay
is at "$link"
is [ "$(readlink "root$link")" = /lib/systemd/system/udprelay.service -o "$(readlink "root$link")" = /usr/lib/systemd/system/udprelay.service ]
is [ "$(chroot root udprelay --version)" = "udprelay 1.2.3" ]

# An administrator's: a second room, drop-ins, a secret, state as systemd keeps it.
echo 'listen: ":9001"' >root/etc/udprelay/games.yaml
echo secret >root/etc/udprelay/secret
ln -s /usr/lib/systemd/system/udprelay@.service "root$units/multi-user.target.wants/udprelay@games.service"
mkdir -p "root$units/udprelay.service.d" "root$units/udprelay@games.service.d" \
	root/var/lib/private/udprelay root/var/lib/private/udprelay-games root/run/udprelay-games
echo '[Service]' >"root$units/udprelay.service.d/low-port.conf"
for name in udprelay udprelay-games; do
	echo state >root/var/lib/private/$name/peers
	ln -s private/$name root/var/lib/$name
done

is [ -x root/usr/lib/udprelay/restart ]

step="upgrade with a configuration that was changed"
echo '# mine' >>root/etc/udprelay/udprelay.yaml
run dpkg -i --force-confdef --force-confold /tmp/later.deb
is at "$link"
is at "$units/multi-user.target.wants/udprelay@games.service"
is [ "$(tail -1 root/etc/udprelay/udprelay.yaml)" = "# mine" ]
is [ "$(chroot root dpkg-query -W -f '${Version} ${Status}' udprelay)" = "1.2.3+later install ok installed" ]

step="removal"
run dpkg -r udprelay
isnt at "$link"
isnt at "$units/*.wants/udprelay*"
isnt at /usr/bin/udprelay
is at /etc/udprelay/udprelay.yaml
is at /etc/udprelay/games.yaml
is at /var/lib/private/udprelay/peers

step="installation after a removal"
run dpkg -i --force-confdef --force-confold /tmp/old.deb
is at "$link"

step="an upgrade leaves disabled what the administrator has disabled"
rm "root$link"
run dpkg -i --force-confdef --force-confold /tmp/later.deb
isnt at "$link"
step="so does an installation after a removal"
run dpkg -r udprelay
run dpkg -i --force-confdef --force-confold /tmp/old.deb
isnt at "$link"

step="purge"
run dpkg -P udprelay
isnt chroot root dpkg-query -s udprelay 2>/dev/null
list >after
is cmp -s before after
diff before after || true

step="purge of what was removed before"
run dpkg -i /tmp/old.deb
run dpkg -r udprelay
run dpkg -P udprelay
list >after
is cmp -s before after
diff before after || true

exit $failed
