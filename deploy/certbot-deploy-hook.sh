#!/bin/sh
# A deploy hook of certbot: copies a renewed certificate to where crolang-aio may read it. crolang-aio notices the change
# by itself within seconds; it needs no signal, and connections stay.
#
#   install -m 0755 deploy/certbot-deploy-hook.sh /etc/letsencrypt/renewal-hooks/deploy/crolang-aio
#
# certbot sets RENEWED_LINEAGE to the folder of the renewed certificate. Set NAME where there are several.
set -eu
NAME=${NAME:-}           # such as turn.example.org; empty: whatever is renewed
TO=${TO:-/etc/crolang-aio/tls}
OWNER=${OWNER:-crolang-aio}

[ -z "$NAME" ] || [ "${RENEWED_LINEAGE##*/}" = "$NAME" ] || exit 0

install -d -m 0750 -o root -g "$OWNER" "$TO"
for file in fullchain.pem privkey.pem; do
	# Written beside and then renamed, so that half a file is never read. Between the two renames the pair does not
	# match, and crolang-aio keeps the former one.
	install -m 0640 -o root -g "$OWNER" "$RENEWED_LINEAGE/$file" "$TO/$file.new"
done
mv "$TO/fullchain.pem.new" "$TO/fullchain.pem"
mv "$TO/privkey.pem.new" "$TO/privkey.pem"
