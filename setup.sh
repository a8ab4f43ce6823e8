#!/bin/sh
# Makes .venv and installs the project into it; `sh setup.sh test` adds what the tests use, the real browser and
# proxy among it. Debian's packages are fetched only where they are missing, which needs root or sudo.
set -eu
cd "$(dirname "$0")"

# No service that comes along starts, now or with the machine: the tests start what they need by themselves.
apt_install() (
    if [ "$(id -u)" = 0 ]; then root=; else root=sudo; fi
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap '$root rm -f $policy' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
        $root chmod 755 $policy
    fi
    before=$(started_at_boot)
    $root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends "$@"
    for link in $(started_at_boot | grep -vxF "$before"); do $root rm "$link"; done
)
started_at_boot() { find /etc/systemd/system -path '*.wants/*' 2>/dev/null || true; }

python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
[ -x .venv/bin/python ] || python3 -m venv .venv

if [ "${1:-}" = test ]; then
    missing=
    command -v chromium >/dev/null || missing="$missing chromium fonts-dejavu-core"
    command -v chromedriver >/dev/null || missing="$missing chromium-driver"
    command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
    command -v crontab >/dev/null || missing="$missing cron"
    command -v faketime >/dev/null || missing="$missing faketime"
    command -v systemd-nspawn >/dev/null || missing="$missing systemd-container dbus-user-session libpam-systemd"
    command -v cc >/dev/null || missing="$missing gcc libc6-dev"
    command -v glusterfsd >/dev/null || [ -x /usr/sbin/glusterfsd ] || missing="$missing glusterfs-server iproute2"
    command -v sshfs >/dev/null || missing="$missing sshfs openssh-sftp-server"
    command -v npm >/dev/null || missing="$missing npm"
    command -v promtool >/dev/null || missing="$missing prometheus"
    command -v dockerd >/dev/null || missing="$missing docker.io"
    command -v podman >/dev/null || missing="$missing podman catatonit"
    command -v debootstrap >/dev/null || missing="$missing debootstrap"
    command -v slirp4netns >/dev/null || missing="$missing slirp4netns"
    command -v iptables >/dev/null || missing="$missing iptables"
    [ -z "$missing" ] || apt_install $missing
    # Of a newer Debian, which not every mirror has.
    kubectl kustomize deploy/kubernetes/base >/dev/null 2>&1 || sh tests/containers/kubernetes.sh kubectl ||
        echo "no kubectl: tests of deploy/kubernetes will be skipped" >&2
    .venv/bin/python -m pip install -q -c constraints.txt -e '.[test]'
else
    .venv/bin/python -m pip install -c constraints.txt -e .
fi
