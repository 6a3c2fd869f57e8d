#!/bin/sh
# Before removing it. deb calls it with "remove" or "upgrade", rpm with the number of versions that stay.
set -e
case $1 in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now crolang-aio.service crolang-aio-hooks.socket
	fi
	;;
esac
