# systemctl reload reads the allow lists again and disturbs nobody.
. "$(dirname "$0")/../lib.sh"
file=/etc/mollysocket/config.toml
linked $ACI
phone $OTHER
answer() { registration $OTHER "$(sim endpoint other)" http://127.0.0.1:8020/; }
[ "$(answer)" = invalid_uuid ]
ok 'who is not on the list is refused'
pid=$(field mollysocket MainPID)
connects() { sim counters $ACI 2 | grep -o "^connects=[0-9]*"; }
before=$(connects)
sed "s/^allowed_uuids = .*/allowed_uuids = [\"$ACI\", \"$OTHER\"]/" $file >/run/e2e/config.toml
cp --remove-destination /run/e2e/config.toml $file
systemctl reload mollysocket
allowed() { [ "$(answer)" = ok ]; }
within 10 allowed
ok 'after a reload the new entry counts'
[ "$(field mollysocket MainPID)" = "$pid" ]
[ "$(connects)" = "$before" ]
ok 'process and connections are the same'
echo 'no toml' >>$file
systemctl reload mollysocket
refused() { field mollysocket StatusText | grep -q 'reload failed'; }
within 10 refused
[ "$(systemctl is-active mollysocket)" = active ]
[ "$(answer)" = ok ]
ok 'a broken file changes nothing and is reported'
