#!/bin/sh
# Installs what the tests talk to and is not there yet: a C compiler for the
# race detector, coturn's client, libnice, Redis and its sentinel, HAProxy, nginx,
# Chromium and Firefox with the tools of their certificate stores, Node.js, a JDK with
# Maven, Python's ICE stacks, what makes networks for benchmarks, shells, a compiler
# for what runs in the kernel, the npm packages of every folder that has a lock file,
# the jars of every folder that has a pom.xml, the modules and packages of peers in
# Go and Python, and a client in Rust where there is a compiler.
# Debian; apt-get runs as root or through sudo.
set -eu
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1; }

missing=
need() { # need PACKAGE PROGRAM…
	package=$1
	shift
	for program; do
		have "$program" || { missing="$missing $package"; return 0; }
	done
}
need gcc gcc
[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
need coturn turnutils_uclient turnutils_peer
need chromium chromium # the JVM peers' libwebrtc stands on its libraries too
need firefox-esr firefox-esr
need pkg-config pkg-config
[ -e /usr/include/nice/agent.h ] || missing="$missing libnice-dev"
need openssl openssl
need redis-server redis-server
need redis-sentinel redis-sentinel
need iproute2 ip
need ethtool ethtool
need iptables iptables
need nodejs node
need npm npm
need bash bash
need zsh zsh
need fish fish
need man-db man
need skopeo skopeo
need systemd systemd-analyze
need util-linux unshare
need rpm rpm
need default-jdk-headless java javac
need maven mvn
need haproxy haproxy
need nginx nginx
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
need libnss3-tools certutil
need clang-14 clang-14
need llvm-14 llvm-objcopy-14
[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$missing libbpf-dev"
[ -d /usr/lib/python3/dist-packages/aioice ] || missing="$missing python3-aioice"
[ -d /usr/lib/python3/dist-packages/aiortc ] || missing="$missing python3-aiortc"
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"

if [ -n "$missing" ]; then
	echo "installing:$missing"
	if ! have apt-get; then
		echo "apt-get is not here: install these by hand:$missing" >&2
		exit 1
	fi
	as_root=
	if [ "$(id -u)" != 0 ]; then
		have sudo || { echo "not root, and no sudo: run as root: apt-get install$missing" >&2; exit 1; }
		as_root=sudo
	fi
	apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
	$apt update
	# shellcheck disable=SC2086 # several words each
	$apt install -y --no-install-recommends ca-certificates $missing
	disable() { [ ! -d /run/systemd/system ] || $as_root systemctl disable --now "$@" || true; }
	case $missing in *coturn*) disable coturn ;; esac # only its client is wanted
	case $missing in *redis*) disable redis-server redis-sentinel ;; esac # tests start their own
	case $missing in *haproxy*) disable haproxy ;; esac # likewise
	case $missing in *nginx*) disable nginx ;; esac
fi

# npm notes what it has installed in node_modules/.package-lock.json.
find . -name node_modules -prune -o -name package-lock.json -print | while read -r lock; do
	dir=$(dirname "$lock")
	[ "$dir/node_modules/.package-lock.json" -nt "$lock" ] && continue
	echo "npm ci in $dir"
	(cd "$dir" && npm ci --no-audit --no-fund --loglevel=error)
done

# From what Maven keeps of earlier runs if that is enough, else from its registry.
find . -name node_modules -prune -o -name pom.xml -print | while read -r pom; do
	dir=$(dirname "$pom")
	[ "$dir/target/lib" -nt "$pom" ] && continue
	echo "mvn dependency:copy-dependencies in $dir"
	(
		cd "$dir"
		rm -rf target/lib
		mvn -q -B -o dependency:copy-dependencies >/dev/null 2>&1 || mvn -q -B dependency:copy-dependencies
		touch target/lib
	)
done

# Debian 12's Rust is too old for what is built here, and nothing else needs one: where there is none, its tests are skipped.
rust=$(cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
if [ "${rust:-0}" -ge 80 ]; then
	echo "cargo build in internal/e2e/rust"
	cargo build -q --locked --manifest-path internal/e2e/rust/Cargo.toml
else
	echo "no Rust 1.80 or later: the client of turn-client-proto is not tried"
fi

# Debian's Python, which the test programs are written for, with packages of its own beside Debian's.
python=internal/e2e/python
if [ ! "$python/.venv/installed" -nt "$python/requirements.txt" ]; then
	echo "pip install in $python"
	/usr/bin/python3 -m venv --clear "$python/.venv"
	"$python/.venv/bin/pip" install -q --disable-pip-version-check -r "$python/requirements.txt"
	touch "$python/.venv/installed"
fi

# pion/turn v5, whose client is a peer.
go -C internal/e2e/pion5 mod download

# The test CA of Let's Encrypt and its DNS server: tools/go.mod has their version.
for tool in pebble pebble-challtestsrv; do
	go tool -modfile=tools/go.mod -n "$tool" >/dev/null
done
