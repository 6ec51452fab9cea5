# The VAPID key: made by the service, from a plain file, from a sealed one, and by the name of a system credential.
. "$(dirname "$0")/../lib.sh"
generated=$(public_key 8020)
plain=$(public_key 8021)
[ -n "$generated" ]
[ "$plain" != "$generated" ]
[ "$(public_key 8022)" = "$plain" ]
ok 'plain and sealed file give the same key'
[ "$(public_key 8023)" = "$plain" ]
ok 'so does the system credential'
[ ! -e /var/lib/mollysocket-plain/db.sqlite.vapid ]
[ -e /var/lib/mollysocket/db.sqlite.vapid ]
ok 'a key is made only where none is given'
for unit in mollysocket-plain mollysocket-sealed mollysocket-named; do
    [ -s /run/credentials/$unit.service/vapid.key ]
    refuses runuser -u nobody -- cat /run/credentials/$unit.service/vapid.key
    refuses runuser -u nobody -- cat /var/lib/e2e/vapid.key
done
ok 'other users cannot read it'
daemon=$(field mollysocket-plain MainPID)
as_daemon() { nsenter -t "$daemon" -m -S "$(stat -c %u "/proc/$daemon")" "$@"; }
containsF "$VAPID_PRIVATE" as_daemon cat /run/credentials/mollysocket-plain.service/vapid.key
refuses as_daemon cat /var/lib/e2e/vapid.key
ok 'neither can the service read the original'
{
    systemctl show mollysocket-plain mollysocket-sealed mollysocket-named
    systemctl cat mollysocket-plain mollysocket-sealed mollysocket-named
    journalctl -b --no-pager
    cat /etc/mollysocket*/* /proc/$daemon/cmdline /proc/$daemon/environ
} 2>/dev/null | tr '\0' '\n' >/run/e2e/seen
grep -q CREDENTIALS_DIRECTORY /run/e2e/seen
lacks "$VAPID_PRIVATE" cat /run/e2e/seen
ok 'it is in no property, unit, journal, file or environment'
[ "$(mollysocket-sealed qrcode airgapped | grep -o 'vapid=[A-Za-z0-9_-]*')" = "$plain" ]
ok 'the command gets the sealed key, too'
