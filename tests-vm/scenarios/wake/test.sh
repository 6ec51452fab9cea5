# From a phone's registration to the wake-up and its acknowledgement.
. "$(dirname "$0")/../lib.sh"
linked $ACI
sim wait-pushes 1 10
[ "$(sim push 1 body)" = '{"test":true}' ]
ok 'a registration sends a test push'
wakes $ACI
ok 'a message wakes the phone and is acknowledged then'
[ "$(sim push 2 urgency)" = high ] && [ "$(sim push 2 topic)" = mollysocket ]
sim push 2 authorization | grep -q "^vapid t=.*,\s*k=$(public_key 8020 | cut -d= -f2)"
ok 'the push is signed with the key of the link'
curl -fsS http://127.0.0.1:8020/metrics | grep -q '^mollysocket_connections 1'
ok 'the metrics count it'
mollysocket connection list | grep -q 'forbidden: false'
mollysocket connection list | grep -qF "$PASSWORD" && fail 'the list shows a password'
ok 'the command lists it, without its password'
! journalctl -b -u mollysocket --no-pager | grep -qE "$PASSWORD|up-$ACI|$ACI"
ok 'nothing secret is in the journal'
