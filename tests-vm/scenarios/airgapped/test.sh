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
# NixOS' sudo leaves PATH as it is; others can be told to.
fake=/run/e2e/fake
mkdir $fake
printf '#!/bin/sh\ntouch /run/e2e/fake-ran\n' >$fake/systemd-run
chmod -R 755 $fake
if [ -d /etc/sudoers.d ]; then
    printf 'Defaults:anna !secure_path\nanna ALL=(root) NOPASSWD: /usr/bin/env ""\n' >/etc/sudoers.d/anna
    contains "^PATH=$fake:" runuser -u anna -- env "PATH=$fake:$PATH" sudo -n /usr/bin/env
    rm /etc/sudoers.d/anna
    echo 'Defaults:anna !secure_path' >/etc/sudoers.d/anna
fi
contains $ACI runuser -u anna -- env "PATH=$fake:$PATH" mollysocket connection list
[ ! -e /run/e2e/fake-ran ]
ok 'root runs no program that a member put into PATH'
cp /etc/mollysocket/config.toml /run/e2e/other.toml
chmod 644 /run/e2e/other.toml
contains $ACI runuser -u anna -- mollysocket -c /run/e2e/other.toml connection list
chmod 600 /run/e2e/other.toml
refuses runuser -u anna -- mollysocket -c /run/e2e/other.toml connection list
ok 'not even a member reads what only root may read'
phone $OTHER
runuser -u anna -- mollysocket connection add $OTHER 2 "$PASSWORD" "$(sim endpoint up-$OTHER)?a=\$x\${HOME}"
containsF "up-$OTHER?a=\$x\${HOME}" sqlite3 /var/lib/mollysocket/db.sqlite "SELECT endpoint FROM connections WHERE uuid = '$OTHER'"
ok 'a dollar in an endpoint stays one'
# Both lines were run by now, by root and by a member: neither sudo nor systemd tells of their words.
contains 'A command of mollysocket' journalctl -b --no-pager
lacks "pass.word/1==|up-$ACI|up-$OTHER" journalctl -b --no-pager
ok 'neither password nor endpoint of a line is in the journal'
contains 'systemctl status' sh -c '! mollysocket server 2>&1'
ok 'the command starts no second daemon'
mollysocket connection remove $ACI
