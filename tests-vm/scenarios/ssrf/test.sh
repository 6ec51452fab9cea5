# Nobody gets the service to talk to an address that is not public.
. "$(dirname "$0")/../lib.sh"
ip addr add 10.99.0.1/32 dev lo
ip addr add 169.254.9.9/32 dev lo
cat >/run/e2e/canary.conf <<CONF
pid /run/e2e/canary.pid; error_log /run/e2e/canary.errors;
events {}
http {
    access_log /run/e2e/canary.log;
    server {
        listen 127.0.0.1:9000; listen 10.99.0.1:9000; listen 169.254.9.9:9000; listen [::1]:9000;
        return 201;
    }
}
CONF
nginx -c /run/e2e/canary.conf
# hits : connections the canary has seen, in whatever form.
hits() { cat /run/e2e/canary.log /run/e2e/canary.errors | wc -l; }
for address in 127.0.0.1 10.99.0.1 169.254.9.9 '[::1]'; do
    curl -fsS -o /dev/null "http://$address:9000/"
done
[ "$(hits)" = 4 ]
ok 'the canary sings'
phone $ACI
for host in 127.0.0.1 localhost 127.1 0x7f.1 2130706433 0177.0.0.1 0.0.0.0 '[::1]' '[::ffff:127.0.0.1]' '[::127.0.0.1]' \
    '[64:ff9b::7f00:1]' '[2002:7f00:1::]' 10.99.0.1 '[::ffff:10.99.0.1]' 169.254.9.9 '[::ffff:a9fe:909]' 169.254.169.254 \
    molly.test localhost.; do
    for scheme in http https; do
        got=$(registration $ACI "$scheme://$host:9000/x" http://127.0.0.1:8020/)
        [ "$got" = invalid_endpoint ] || fail "$scheme://$host: $got"
    done
done
ok 'every form of such an address is refused'
for host in 127.0.0.1 10.99.0.1 169.254.9.9 '[::1]'; do
    refuses mollysocket connection add $ACI 2 "$PASSWORD" "http://$host:9000/x"
    # Past the command, straight into the database: refused when it is to be used.
    sqlite3 /var/lib/mollysocket/db.sqlite "INSERT INTO connections (uuid, device_id, password, endpoint, forbidden,
        last_registration) VALUES ('$ACI', 2, '$PASSWORD', 'http://$host:9000/x', 0, 1)"
    systemctl restart mollysocket
    sim wait-connected $ACI 2 20
    sim send $ACI 2
    sleep 2
done
ok 'so is one that got into the database'
[ "$(hits)" = 4 ]
nginx -c /run/e2e/canary.conf -s stop
ok 'the canary was not touched'
