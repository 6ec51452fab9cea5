# From a phone's registration to the wake-up and its acknowledgement.
. "$(dirname "$0")/../lib.sh"
linked $ACI
sim wait-pushes 1 10
[ "$(sim push 1 body)" = '{"test":true}' ]
ok 'a registration sends a test push'
wakes $ACI
ok 'a message wakes the phone and is acknowledged then'
[ "$(sim push 2 urgency)" = high ]
[ "$(sim push 2 topic)" = mollysocket ]
contains "^vapid t=.*,\s*k=$(public_key 8020 | cut -d= -f2)" sim push 2 authorization
ok 'the push is signed with the key of the link'
contains '^mollysocket_connections 1' curl -fsS http://127.0.0.1:8020/metrics
ok 'the metrics count it'
contains 'forbidden: false' mollysocket connection list
lacks 'pass.word/1==' mollysocket connection list
ok 'the command lists it, without its password'
lacks "pass.word/1==|up-$ACI|$ACI" journalctl -b -u mollysocket --no-pager
ok 'nothing secret is in the journal'
