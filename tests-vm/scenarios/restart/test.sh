# However it ends, it comes back, and what arrived in the meantime wakes the phone.
. "$(dirname "$0")/../lib.sh"
linked $ACI

# crashed WHAT COMMAND... : after the command the service is a new process, and a message sent meanwhile is not lost.
crashed() {
    local what=$1 pushes restarts
    shift
    pushes=$(sim pushes)
    restarts=$(field mollysocket NRestarts)
    "$@"
    sim send $ACI 2 >/dev/null
    back() { [ "$(field mollysocket NRestarts)" -gt "$restarts" ] && systemctl is-active --quiet mollysocket; }
    within 40 back
    sim wait-connected $ACI 2 20
    sim wait-pushes $((pushes + 1)) 20
    waiting() { sim counters $ACI 2 | grep -q 'unacked=0'; }
    within 10 waiting
    ok "$what: back, and the message woke the phone"
}
# While it is down nobody is connected, so the message waits at Signal.
gone() { systemctl kill --signal=KILL mollysocket; }
crashed 'killed' gone

pushes=$(sim pushes)
sim push-server off
sim send $ACI 2 >/dev/null
owed() { sim counters $ACI 2 | grep -q ' unacked=1 '; }
within 10 owed
sleep 1
owed
gone
sim push-server on
sim wait-pushes $((pushes + 1)) 60
paid() { sim counters $ACI 2 | grep -q ' unacked=0 '; }
within 20 paid
ok 'killed while a wake-up was owed: the message came again and woke the phone'

[ "$(field mollysocket WatchdogUSec)" = 30s ]
mkdir -p /run/systemd/system/mollysocket.service.d
printf '[Service]\nWatchdogSec=2\n' >/run/systemd/system/mollysocket.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart mollysocket
sim wait-connected $ACI 2 20
sleep 5
[ "$(field mollysocket NRestarts)" = 0 ]
ok 'a healthy service outlives its watchdog'
hang() { kill -STOP "$(field mollysocket MainPID)"; }
crashed 'hanging' hang
contains 'Watchdog timeout' journalctl -b -u mollysocket --no-pager
ok 'it was the watchdog'

# For the time after the reboot: Signal has a message waiting from the start.
printf 'add %s 2 %s\nsend %s 2\n' $ACI "$PASSWORD" $ACI >/var/lib/e2e/at-boot
public_key 8020 >/var/lib/e2e/key-before
