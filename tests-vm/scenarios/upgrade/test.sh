# The state directory and environment file of a reference installation are taken over as they are.
. "$(dirname "$0")/../lib.sh"
systemctl stop mollysocket 2>/dev/null || true
systemctl reset-failed mollysocket 2>/dev/null || true
rm -rf /var/lib/private/mollysocket /var/lib/mollysocket
mkdir -p -m 700 /var/lib/private/mollysocket
ln -s private/mollysocket /var/lib/mollysocket
phone $ACI
sqlite3 /var/lib/mollysocket/mollysocket.db "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE,
    device_id INTEGER, password TEXT, endpoint TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)),
    last_registration INTEGER);
    INSERT INTO connections VALUES ('$ACI', '2', '$PASSWORD', '$(sim endpoint old)', '0', '1700000000')"
chown -R 65432:65432 /var/lib/private/mollysocket
{ cat /run/e2e/simulator.env; echo "MOLLY_VAPID_PRIVKEY=$VAPID_PRIVATE"; } >/run/e2e/reference.env
systemctl start mollysocket
sim wait-connected $ACI 2 20
ok 'the account of the old database is connected'
wakes $ACI
ok 'a message wakes its phone'
containsF "k=$(public_key 8020 | cut -d= -f2)" sim push 1 authorization
[ ! -e /var/lib/mollysocket/db.sqlite ]
[ ! -e /var/lib/mollysocket/mollysocket.db.vapid ]
ok 'no second database and no second key were made'
contains "mollysocket.db" mollysocket connection list
[ "$(sqlite3 /var/lib/mollysocket/mollysocket.db 'SELECT uuid, device_id, forbidden FROM connections')" = "$ACI|2|0" ]
ok 'what the old version reads is still there'
