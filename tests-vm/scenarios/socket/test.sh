# A socket unit: a low port, and requests that wait while the service restarts.
. "$(dirname "$0")/../lib.sh"
systemctl stop mollysocket
printf '[Socket]\nListenStream=80\n' >/run/systemd/system/mollysocket.socket
systemctl daemon-reload
systemctl start mollysocket.socket
[ "$(systemctl is-active mollysocket || true)" = inactive ]
contains '"mollysocket":{"version":' curl -fsS --max-time 20 http://127.0.0.1/discover
[ "$(systemctl is-active mollysocket)" = active ]
ok 'the first request to port 80 starts it and is answered'
contains 'listening on http://' field mollysocket StatusText
lacks ':8020 ' ss -Hltn
ok 'it listens nowhere else'
systemctl kill --signal=KILL mollysocket
contains '"mollysocket":{"version":' curl -fsS --max-time 20 http://127.0.0.1/discover
ok 'a request during a restart waits and is answered'
linked $ACI 80
wakes $ACI
ok 'a message wakes the phone'
