# The packaged unit on a system without Nix, installed and changed by the commands of docs/systemd.md as they stand there.
. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../guide.sh"
cd /opt/e2e/source
url=http://127.0.0.1:8020
hardened() { systemd-analyze security --no-pager --threshold=11 mollysocket.service >/dev/null; }
owner() { stat -L -c %U "/proc/$(field mollysocket MainPID)"; }

guide Install
contains '0 accounts, listening on http://127.0.0.1:8020/' field mollysocket StatusText
contains 'Version ' curl -fsS $url/
[ "$(systemctl is-enabled mollysocket)" = enabled ]
ok 'installed as the guide says, it starts and shows its page'
hardened
ok 'exposure is at most 1.1'
key=$(public_key 8020)
[ "$(stat -c %a /var/lib/mollysocket/db.sqlite.vapid)" = 600 ]
ok 'it made its key'

guide Configuration
sed 's/^MOLLY_\([A-Z_]*\)=\(.*\)/\L\1\E = "\2"/; s/^\(allowed_endpoints = \)\(.*\)/\1[\2]/' /run/e2e/simulator.env \
    >>/etc/mollysocket/config.toml
systemctl restart mollysocket
linked $ACI
wakes $ACI
contains $ACI mollysocket connection list
mollysocket health
guide 'Admin socket' docs/operations.md
ok 'configured as the guide says, it serves a phone, and the commands work for root'

guide 'A sealed key'
[ "$(public_key 8020)" = "$key" ]
[ ! -e /var/lib/mollysocket/db.sqlite.vapid ]
systemctl restart mollysocket
[ "$(public_key 8020)" = "$key" ]
[ ! -e /var/lib/mollysocket/db.sqlite.vapid ]
sim wait-connected $ACI 2 20
wakes $ACI
refuses runuser -u nobody -- cat /etc/mollysocket/vapid.cred
lacks 'BEGIN|^[A-Za-z0-9_-]{43}$' cat /etc/mollysocket/vapid.cred
CREDENTIALS_DIRECTORY=/run/credentials/mollysocket.service mollysocket connection ping $ACI >/dev/null
# Without the key it names what is missing, not a new one; with it the key is found, whatever else it finds here.
mollysocket doctor >/run/e2e/doctor || true
contains 'CREDENTIALS_DIRECTORY=/run/credentials/mollysocket.service' cat /run/e2e/doctor
lacks 'start it once' cat /run/e2e/doctor
CREDENTIALS_DIRECTORY=/run/credentials/mollysocket.service mollysocket doctor >/run/e2e/doctor || true
contains '^ok .*VAPID key: credential ' cat /run/e2e/doctor
hardened
ok 'the key is sealed, and still the same'
systemctl stop mollysocket
mv /etc/mollysocket/vapid.cred /run/e2e/vapid.cred
refuses systemctl start mollysocket
[ ! -e /etc/mollysocket/vapid.cred ]
contains 'seal the one in use' journalctl -b -u mollysocket-key -o cat --no-pager
mv /var/lib/private/mollysocket /var/lib/private/kept
cp /etc/mollysocket/config.toml /run/e2e/config.toml
echo "vapid_privkey = \"$VAPID_PRIVATE\"" >>/etc/mollysocket/config.toml
refuses systemctl start mollysocket
[ ! -e /etc/mollysocket/vapid.cred ]
contains 'remove the line' journalctl -b -u mollysocket-key -o cat --no-pager
cp /run/e2e/config.toml /etc/mollysocket/config.toml
ok 'no new key is made while there is a database or a configured key'
mkdir -m 700 /var/lib/private/mollysocket
echo old >/var/lib/private/mollysocket/db.sqlite.vapid
echo older >/var/lib/private/mollysocket/mollysocket.db.vapid
systemctl start mollysocket-key
[ "$(systemd-creds decrypt --name=vapid.key /etc/mollysocket/vapid.cred -)" = old ]
ok 'of two keys the one of the database in use is sealed'
rm -r /etc/mollysocket/vapid.cred /var/lib/private/mollysocket
systemctl start mollysocket
new=$(public_key 8020)
[ "$new" != "$key" ]
[ ! -e /var/lib/mollysocket/db.sqlite.vapid ]
systemctl restart mollysocket
[ "$(public_key 8020)" = "$new" ]
ok 'without any key one is made and sealed at the first start'
systemctl stop mollysocket
rm -r /var/lib/private/mollysocket
mv /var/lib/private/kept /var/lib/private/mollysocket
systemctl start mollysocket
sim wait-connected $ACI 2 20

[ "$(stat -c %a /etc/mollysocket/config.toml)" = 644 ]
guide 'A fixed user'
[ "$(owner)" = mollysocket ]
[ "$(id -u mollysocket)" -lt 1000 ]
[ "$(stat -L -c '%U %a' /var/lib/mollysocket)" = 'mollysocket 700' ]
[ "$(stat -c '%U:%G %a' /etc/mollysocket/config.toml)" = 'root:mollysocket 640' ]
[ "$(public_key 8020)" = "$new" ]
sim wait-connected $ACI 2 20
wakes $ACI
hardened
ok 'with a fixed user it has the same accounts and key, and is as hardened'

guide 'A port below 1024, or a service that is started on demand'
[ "$(systemctl is-active mollysocket || true)" = inactive ]
contains '"mollysocket":{"version":' curl -fsS --max-time 20 http://127.0.0.1/discover
[ "$(systemctl is-active mollysocket)" = active ]
ok 'systemd listens on port 80 for it'
