#!/bin/sh
# Kubernetes' programs for the tests, into a cache outside of the repository; nothing is installed, and root is not needed.
#   kubectl     of Debian 13: that of Debian 12 has a kustomize that is too old
#   apiserver   kube-apiserver 1.20, the last that Debian has the source of, built in 3 minutes of two cores; and etcd
set -eu
cache=${XDG_CACHE_HOME:-$HOME/.cache}/greenr-tests
mkdir -p "$cache"
work=$(mktemp -d "$cache/making.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Component: main' | grep -v security | head -1)

# With lists of its own: those of this machine stay as they are.
debian() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::State::Status=/dev/null -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User="$(id -un)" "$@"
}
of_suite() {
    signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    printf '%s\n' "deb $signed $mirror $1 main" "deb-src $signed $mirror $1 main" >sources.list
    mkdir -p lists/partial cache/archives/partial
    debian update
}
unpacked() {
    debian download "$@"
    for file in *.deb; do dpkg-deb -x "$file" debs; done
    rm ./*.deb
}

case ${1:-} in
kubectl)
    [ ! -x "$cache/kubectl" ] || exit 0
    of_suite trixie
    unpacked kubectl
    mv debs/usr/bin/kubectl "$cache/"
    ;;
apiserver)
    of_suite bookworm
    unpacked golang-1.19-go golang-1.19-src etcd-server
    debian source --download-only kubernetes
    mkdir -p go/src/k8s.io/kubernetes
    tar -xf kubernetes_*.orig.tar.gz --strip-components=1 -C go/src/k8s.io/kubernetes
    cd go/src/k8s.io/kubernetes
    export GOROOT="$work/debs/usr/lib/go-1.19" GOPATH="$work/go" GOCACHE="$work/built" GO111MODULE=off CGO_ENABLED=0
    export PATH="$GOROOT/bin:$PATH"
    # Not optimised: quicker to build.
    set -- -gcflags='all=-N -l'
    go build "$@" -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    # What kubectl checks fields by, which the source comes without.
    grep -rl --include='*.go' '+k8s:openapi-gen=' staging/src/k8s.io pkg | xargs -n1 dirname | sort -u |
        sed 's,^staging/src,k8s.io/kubernetes/vendor,; s,^pkg,k8s.io/kubernetes/pkg,; s,^,--input-dirs=,' |
        xargs "$work/openapi-gen" --output-package k8s.io/kubernetes/pkg/generated/openapi \
            --output-file-base zz_generated.openapi --go-header-file hack/boilerplate/boilerplate.generatego.txt \
            --report-filename "$work/violations"
    version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
    go build "$@" -ldflags="-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
        -o "$work/kube-apiserver" ./cmd/kube-apiserver
    mv "$work/debs/usr/bin/etcd" "$work/kube-apiserver" "$cache/"
    ;;
*)
    sed -n '2,4p' "$0"
    exit 2
    ;;
esac
