# Database and key on another disk, with a user that stays.
. "$(dirname "$0")/../lib.sh"
data=/srv/molly
[ "$(stat -c '%U %G %a' $data)" = 'mollysocket mollysocket 700' ]
[ "$(stat -c '%U %a' $data/db.sqlite)" = 'mollysocket 600' ]
[ "$(stat -c '%U %a' $data/db.sqlite.vapid)" = 'mollysocket 600' ]
[ ! -e /var/lib/mollysocket ]
ok 'the state is there, is private, and nowhere else'
linked $ACI
wakes $ACI
contains $ACI mollysocket connection list
mollysocket health
ok 'a message wakes the phone, and the command finds the database'
key=$(public_key 8020)
systemctl restart mollysocket
[ "$(public_key 8020)" = "$key" ]
sim wait-connected $ACI 2 20
ok 'key and account stay'
pid=$(field mollysocket MainPID)
refuses nsenter -t "$pid" -m -S "$(stat -c %u "/proc/$pid")" touch /srv/x
systemd-analyze security --no-pager --threshold=15 mollysocket.service >/dev/null
ok 'elsewhere it writes nothing'
