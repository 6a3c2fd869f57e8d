#!/bin/sh
# Runs every fuzz target for FUZZTIME, as many at once as there are processors.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
export GO

if [ $# -eq 2 ]; then # one target: its folder and its name
	run() {
		"$GO" test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZTIME:-5s}" -fuzzminimizetime 1s -parallel 1 "$1" 2>&1
	}
	# go test now and then reports its own deadline as a failure of the
	# target; a real one leaves its input in testdata.
	out=$(run "$@") || case $out in
	*"context deadline exceeded"*) out=$(run "$@") || { echo "$1 $2: $out"; exit 1; } ;;
	*) echo "$1 $2: $out"; exit 1 ;;
	esac
	echo "$1 $2: $(echo "$out" | tail -n 1)"
	exit
fi

targets=$(mktemp)
trap 'rm -f "$targets" "$targets.one"' EXIT
grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir=node_modules . | xargs -r -n1 dirname | sort -u | while read -r dir; do
	"$GO" test -list '^Fuzz' "$dir" >"$targets.one" # by itself, so that a failure ends this
	sed -n "s|^\(Fuzz.*\)|$dir \1|p" "$targets.one" >>"$targets"
done
xargs -r -n 2 -P "$(getconf _NPROCESSORS_ONLN)" "$0" <"$targets"
