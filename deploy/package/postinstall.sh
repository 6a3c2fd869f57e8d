#!/bin/sh
# After installing or upgrading. deb calls it with "configure" and the version before, rpm with the number of versions.
set -e
first=yes
case $1 in
configure) [ -z "$2" ] || first= ;;
1) ;;
[0-9]*) first= ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# What runs is replaced; what the operator has stopped stays so.
	[ -n "$first" ] || systemctl try-restart crolang-aio.service
fi
if [ -n "$first" ]; then
	echo "crolang-aio is not started yet. Configure it in /etc/crolang-aio/crolang-aio.toml, then:"
	echo "  systemctl enable --now crolang-aio-hooks.socket crolang-aio.service"
fi
