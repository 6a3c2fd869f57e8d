#!/bin/sh
# A deploy hook of certbot: copies a renewed certificate to where crolang-aio may read it. crolang-aio notices the change
# by itself within seconds; it needs no signal, and connections stay.
#
#   install -m 0755 deploy/certbot-deploy-hook.sh /etc/letsencrypt/renewal-hooks/deploy/crolang-aio
#
# certbot sets RENEWED_LINEAGE to the folder of the renewed certificate. Set NAME where there are several.
set -eu
NAME=${NAME:-}                        # such as turn.example.org; empty: whatever is renewed
STATE=${STATE:-/var/lib/crolang-aio}  # data_dir: the copies belong to whom it belongs to, also where systemd makes the user
TO=$STATE/tls

[ -z "$NAME" ] || [ "${RENEWED_LINEAGE##*/}" = "$NAME" ] || exit 0
if [ -L "$TO" ]; then
	echo "$TO is a link: remove it" >&2
	exit 1
fi
uid=$(stat -L -c %u "$STATE")
gid=$(stat -L -c %g "$STATE")

install -d -m 0700 -o "$uid" -g "$gid" "$TO"
for file in fullchain.pem privkey.pem; do
	# Written beside and then renamed, so that half a file is never read. Between the two renames the pair does not
	# match, and crolang-aio keeps the former one.
	install -m 0600 -o "$uid" -g "$gid" "$RENEWED_LINEAGE/$file" "$TO/$file.new"
done
mv "$TO/fullchain.pem.new" "$TO/fullchain.pem"
mv "$TO/privkey.pem.new" "$TO/privkey.pem"
