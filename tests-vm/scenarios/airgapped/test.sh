# No web server: the code is in the journal, and Molly's line goes into a shell.
. "$(dirname "$0")/../lib.sh"
[ "$(systemctl is-active mollysocket)" = active ]
lacks ':8020 ' ss -Hltn
ok 'nothing listens'
within 10 sh -c "journalctl -b -u mollysocket -o cat --no-pager | grep -q '^mollysocket://link?vapid='"
contains '█' journalctl -b -u mollysocket -o cat --no-pager
ok 'code and link are in the journal'
phone $ACI
mollysocket connection add $ACI 2 "$PASSWORD" "$(sim endpoint up-$ACI)"
sim wait-pushes 1 10
[ "$(sim push 1 body)" = '{"test":true}' ]
ok 'the line adds the account and sends a test push'
sim wait-connected $ACI 2 5
ok 'the running service notices within a few seconds'
wakes $ACI
ok 'a message wakes the phone'
useradd --groups mollysocket-admin anna
useradd otto
runuser -u anna -- mollysocket connection ping $ACI
sim wait-pushes 3 10
ok 'a member of the group may use the command'
refuses runuser -u otto -- mollysocket connection list </dev/null
ok 'other users may not'
refuses runuser -u anna -- mollysocket -c /etc/shadow connection list
ok 'not even a member reads what only root may read'
mollysocket connection remove $ACI
