#!/bin/sh
# A Debian 12 with systemd and cloud-init in a folder that is not there yet, as a provider's image has it.
set -eu
# There, and not by debootstrap: it does not find all that cloud-init needs.
for try in 1 2 3; do
    # One file that does not come ends it; what came is not asked for again.
    debootstrap --variant=minbase --include=ca-certificates bookworm "$1" && break
    [ "$try" != 3 ] || exit 1
done
chroot "$1" apt-get update -qq
DEBIAN_FRONTEND=noninteractive chroot "$1" apt-get install -qq --no-install-recommends \
    cloud-init dbus iproute2 locales procps systemd-sysv
# cloud-init takes what is to be done from here, and sets no network up.
install -d "$1"/var/lib/cloud/seed/nocloud
echo 'instance-id: one' > "$1"/var/lib/cloud/seed/nocloud/meta-data
echo 'network: {config: disabled}' > "$1"/etc/cloud/cloud.cfg.d/99_network.cfg
