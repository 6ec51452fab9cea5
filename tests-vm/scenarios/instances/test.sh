# Two daemons on one machine have nothing in common.
. "$(dirname "$0")/../lib.sh"
[ "$(systemctl is-active mollysocket-home mollysocket-work | sort -u)" = active ]
refuses systemctl is-active mollysocket
ok 'two units, and no third'
linked $ACI 8021
linked $OTHER 8022
phone $ACI
[ "$(registration $ACI "$(sim endpoint x)" http://127.0.0.1:8022/)" = invalid_uuid ]
wakes $ACI
wakes $OTHER
ok 'each has its own accounts and allow list'
[ "$(public_key 8021)" != "$(public_key 8022)" ]
contains $ACI mollysocket-home connection list
lacks $OTHER mollysocket-home connection list
ok 'its own key, database and command'
home=$(field mollysocket-home MainPID)
uid=$(stat -c %u "/proc/$home")
[ "$uid" != "$(stat -c %u "/proc/$(field mollysocket-work MainPID)")" ]
contains db.sqlite nsenter -t "$home" -m -S "$uid" ls /var/lib/mollysocket-home/
refuses nsenter -t "$home" -m -S "$uid" ls /var/lib/mollysocket-work/
ok 'and cannot look into the other'
systemctl stop mollysocket-home
wakes $OTHER
ok 'one can stop without the other'
systemctl start mollysocket-home
contains 'up .* process' mollysocket-home status
ok 'its command goes on after a restart, and finds the server'
exported=$(mollysocket-work connection export --secrets $OTHER)
grep -qF "$PASSWORD" <<<"$exported"
lacks "$PASSWORD" mollysocket-work connection export
mollysocket-work connection pause $OTHER
refused=$(mollysocket-home connection import 2>&1 <<<"$exported") && fail 'imported with another key'
grep -q 'another VAPID key' <<<"$refused"
mollysocket-home connection import --other-key <<<"$exported"
mollysocket-work connection remove $OTHER
contains $OTHER mollysocket-home connection list
lacks $OTHER mollysocket-work connection list
systemctl stop mollysocket-work
sim wait-connected $OTHER 2 20 >/dev/null
wakes $OTHER
ok 'an account moves from one to the other by their commands'
