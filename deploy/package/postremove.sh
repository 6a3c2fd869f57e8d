#!/bin/sh
# After removing it. Secrets, bans and certificates stay until the package is purged; rpm has no such thing and leaves them.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/private/crolang-aio /var/lib/crolang-aio
	rm -rf /etc/crolang-aio
fi
