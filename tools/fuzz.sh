#!/bin/sh
# Runs every fuzz target for FUZZTIME.
set -eu
cd "$(dirname "$0")/.."
GO=${GO:-go}
grep -rlE '^func Fuzz' --include='*_test.go' --exclude-dir=node_modules . | xargs -r -n1 dirname | sort -u | while read -r dir; do
	targets=$("$GO" test -list '^Fuzz' "$dir") # by itself, so that a failure ends this
	for target in $(echo "$targets" | grep '^Fuzz'); do
		echo "$dir $target"
		run() {
			"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5s}" -fuzzminimizetime 1s "$dir" 2>&1
		}
		# go test now and then reports its own deadline as a failure of the
		# target; a real one leaves its input in testdata.
		out=$(run) || case $out in
		*"context deadline exceeded"*) out=$(run) || { echo "$out"; exit 1; } ;;
		*) echo "$out"; exit 1 ;;
		esac
		echo "$out" | tail -n 2
	done
done
