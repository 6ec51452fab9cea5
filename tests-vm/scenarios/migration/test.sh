# The reference's two units on a system without Nix, replaced by the commands of docs/migration.md as they stand there.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../guide.sh"
cd /opt/e2e/source

# As the reference's INSTALL.md has it: configuration, database and sealed key, and a user of its own.
useradd --system mollysocket
install -d /etc/mollysocket
install -d -o mollysocket /var/lib/mollysocket
sed 's/^MOLLY_\([A-Z_]*\)=\(.*\)/\L\1\E = "\2"/; s/^\(allowed_endpoints = \)\(.*\)/\1[\2]/' /run/e2e/simulator.env \
    >/etc/mollysocket/conf.toml
printf 'db = "/var/lib/mollysocket/ms.db"\nallowed_uuids = ["%s"]\n' $ACI >>/etc/mollysocket/conf.toml
cp /var/lib/e2e/vapid.cred /etc/mollysocket/vapid.key
phone $ACI
sqlite3 /var/lib/mollysocket/ms.db "CREATE TABLE connections (uuid TEXT UNIQUE ON CONFLICT REPLACE,
    device_id INTEGER, password TEXT, endpoint TEXT, forbidden BOOLEAN NOT NULL CHECK (forbidden IN (0,1)),
    last_registration INTEGER);
    INSERT INTO connections VALUES ('$ACI', '2', '$PASSWORD', '$(sim endpoint old)', '0', '1700000000')"
chown mollysocket: /var/lib/mollysocket/ms.db
cat >/etc/systemd/system/mollysocket-vapid.service <<UNIT
[Service]
Type=oneshot
ExecStart=/bin/true
UNIT
cat >/etc/systemd/system/mollysocket.service <<UNIT
[Unit]
Requires=mollysocket-vapid.service
[Service]
User=mollysocket
ExecStart=/bin/sleep infinity
LoadCredentialEncrypted=vapid.key:/etc/mollysocket/vapid.key
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now mollysocket

guide systemd docs/migration.md
guide Install
sim wait-connected $ACI 2 20
wakes $ACI
ok 'moved as the page says, a message wakes the phone'
containsF "k=$(public_key 8020 | cut -d= -f2)" sim push 1 authorization
[ "$(public_key 8020)" = "$(MOLLY_VAPID_PRIVKEY=$VAPID_PRIVATE mollysocket qrcode airgapped | grep -o 'vapid=[A-Za-z0-9_-]*' | head -1)" ]
[ ! -e /var/lib/mollysocket/ms.db.vapid ]
ok 'with the key it was linked with'
phone $OTHER
[ "$(registration $OTHER "$(sim endpoint x)" http://127.0.0.1:8020/)" = invalid_uuid ]
ok 'the allow lists of conf.toml still count'
