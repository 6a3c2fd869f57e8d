#!/bin/sh
# Files stay short: 400 lines, tests 600.
set -eu
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard '*.go' '*.c' '*.h' | while read -r f; do
	[ -f "$f" ] || continue
	most=400
	case $f in *_test.go) most=600 ;; esac
	n=$(wc -l <"$f")
	[ "$n" -le "$most" ] || echo "$f has $n lines, at most $most: split it"
done | {
	if out=$(grep .); then
		echo "$out" >&2
		exit 1
	fi
}
