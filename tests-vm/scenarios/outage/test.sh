# Signal and the push server go away and come back.
. "$(dirname "$0")/../lib.sh"
linked $ACI
pushes=$(sim pushes)
sim signal off
cut() { sim counters $ACI 2 | grep -q 'open=0'; }
within 10 cut
sim send $ACI 2
sleep 1
contains 'open=0 delivered=0' sim counters $ACI 2
[ "$(sim pushes)" = "$pushes" ]
sim signal on
sim wait-pushes $((pushes + 1)) 60
ok 'Signal was away: its message woke the phone afterwards'
waiting() { sim counters $ACI 2 | grep -q 'unacked=0'; }
within 10 waiting

pushes=$(sim pushes)
sim push-server off
sleep 2
sim send $ACI 2
sleep 2
contains 'unacked=1' sim counters $ACI 2
ok 'the push server is away: the message is not acknowledged'
sim push-server on
sim wait-pushes $((pushes + 1)) 60
within 10 waiting
ok 'it came back: the phone was woken, then the message acknowledged'

pushes=$(sim pushes)
sim push-server off
sleep 2
sim send $ACI 2
sleep 1
systemctl restart mollysocket
sim push-server on
sim wait-pushes $((pushes + 1)) 60
within 10 waiting
ok 'nor is it lost when the service restarts in between'
