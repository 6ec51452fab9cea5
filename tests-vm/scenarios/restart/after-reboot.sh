# After a reboot: the service starts by itself and the message that waited wakes the phone. The push server has another
# port now, so the stored endpoint is corrected first.
. "$(dirname "$0")/../lib.sh"
[ "$(systemctl is-active mollysocket)" = active ]
[ "$(public_key 8020)" = "$(cat /var/lib/e2e/key-before)" ]
ok 'it started by itself, with the same key'
sim wait-connected $ACI 2 20
ok 'the account is connected'
mollysocket connection add $ACI 2 "$PASSWORD" "$(sim endpoint up-$ACI)" 2>&1 || true
awake() { for n in 1 2; do [ "$(sim push $n body)" = '{"urgent":true}' ] && return 0; done; return 1; }
within 30 awake
waiting() { sim counters $ACI 2 | grep -q 'unacked=0'; }
within 10 waiting
ok 'the message that waited woke the phone and was acknowledged'
