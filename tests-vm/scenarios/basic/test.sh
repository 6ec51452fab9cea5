# A service with nothing configured: page, link, discovery, its own key, and the command.
. "$(dirname "$0")/../lib.sh"
url=http://127.0.0.1:8020
[ "$(systemctl is-active mollysocket)" = active ]
ok 'started, and reported itself ready'
contains '0 accounts, listening on http://127.0.0.1:8020/' field mollysocket StatusText
ok 'systemctl status says how it goes'
version=$(mollysocket --version | cut -d' ' -f2)
contains "Version $version" curl -fsS $url/ -H 'Host: molly.test'
ok 'the page is there'
contains 'mollysocket://link?vapid=[A-Za-z0-9_-]\{87\}&amp;url=https%3A%2F%2Fmolly.test%2F' curl -fsS $url/ -H 'Host: molly.test'
ok 'the link names the key and this server'
contains '"mollysocket":{"version":' curl -fsS $url/discover
[ "$(curl -fsS -A "$AGENT" $url/)" = "$(curl -fsS $url/discover)" ]
ok 'Molly discovers it'
code=$(curl -s -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -d '{' $url/)
[ "$code" -ge 400 ]
[ "$code" -lt 500 ]
ok 'nonsense is refused'
state=/var/lib/mollysocket
[ "$(stat -L -c %a $state)" = 700 ]
[ "$(stat -c %a $state/db.sqlite)" = 600 ]
[ "$(stat -c %a $state/db.sqlite.vapid)" = 600 ]
ok 'state is private, and the key was made at the first start'
contains "database: .*db.sqlite" mollysocket connection list
containsF "$(public_key 8020)" mollysocket qrcode airgapped
mollysocket health
mollysocket status >/dev/null
ok 'the command uses database, configuration, key and admin socket of the service'
before=$(public_key 8020)
systemctl restart mollysocket
[ "$(public_key 8020)" = "$before" ]
ok 'the key stays the same'
SECONDS=0
systemctl stop mollysocket
[ $SECONDS -lt 6 ]
[ "$(field mollysocket Result)" = success ]
ok 'it stops in time'
mollysocket connection list >/dev/null
ok 'the command works without the service'
