# After a reboot: the service starts by itself, and a message that waited at Signal wakes the phone.
. "$(dirname "$0")/../lib.sh"
[ "$(systemctl is-active mollysocket)" = active ]
[ "$(public_key 8020)" = "$(cat /var/lib/e2e/key-before)" ]
ok 'it started by itself, with the same key'
sim wait-connected $ACI 2 20
ok 'the account is connected'
sim wait-pushes 1 30
[ "$(sim push 1 body)" = '{"urgent":true}' ]
sim wait-acks $ACI 2 1 20
ok 'the message that waited woke the phone and was acknowledged, without anybody doing anything'
