# What the service cannot do.
. "$(dirname "$0")/../lib.sh"
systemd-analyze security --no-pager --threshold=11 mollysocket.service | tail -1
ok 'exposure is at most 1.1'
pid=$(field mollysocket MainPID)
uid=$(stat -c %u "/proc/$pid")
[ "$uid" -ge 61184 ]
[ "$uid" -le 65519 ]
ok "a user of its own ($uid)"
for line in 'CapInh:\s0*$' 'CapPrm:\s0*$' 'CapEff:\s0*$' 'CapBnd:\s0*$' 'CapAmb:\s0*$' 'Seccomp:\s2' 'NoNewPrivs:\s1'; do
    grep -q "^$line" "/proc/$pid/status" || fail "/proc/PID/status: $line"
done
ok 'no capabilities, filtered system calls, no way to new privileges'
gid=$(stat -c %g "/proc/$pid")
# As the service, but without its filter of system calls.
inside() { nsenter -t "$pid" -m -S "$uid" -G "$gid" -- "$@"; }
for place in / /etc /usr /var /root /home; do
    refuses inside touch "$place/x"
done
refuses nsenter -t "$pid" -m touch /etc/x
inside touch /var/lib/mollysocket/x
inside rm /var/lib/mollysocket/x
ok 'only its state directory can be written'
# Asked as root, whom no permission stops: what is there outside is not there inside.
touch /home/outside /root/outside
# A container has not all devices of a machine.
for place in /home/outside /root/outside /dev/console /dev/kmsg /dev/vda; do
    [ -e $place ] || [ "${place%/*}" = /dev ]
    refuses nsenter -t "$pid" -m test -e $place
done
inside test -e /proc/self/status
refuses inside test -e /proc/1
refuses inside test -e "/proc/$$"
ok 'no homes, no devices, no processes of others'
[ "$(stat -c %a /run/mollysocket)" = 700 ]
[ "$(field mollysocket RestrictAddressFamilies | tr ' ' '\n' | sort | tr '\n' ' ')" = 'AF_INET AF_INET6 AF_UNIX ' ]
linked $ACI
wakes $ACI
ok 'and with all that it works'

if [ -e /run/e2e/kernel ]; then
    cgroup=/sys/fs/cgroup$(field mollysocket ControlGroup)
    [ "$(cat "$cgroup/memory.max")" = $((300 * 1024 * 1024)) ]
    ok 'the kernel knows the limit of memory'
    ip addr add 169.254.9.9/32 dev lo
    ip addr add 10.99.0.1/32 dev lo
    cat >/run/e2e/canary.conf <<CONF
pid /run/e2e/canary.pid; error_log /run/e2e/canary.errors; events {} http { access_log off; server { listen 169.254.9.9:9000; listen 10.99.0.1:9000; return 200 hi; } }
CONF
    nginx -c /run/e2e/canary.conf
    reach() { curl -sS --max-time 2 -o /dev/null "http://$1:9000/"; }
    reach 169.254.9.9
    reach 10.99.0.1
    # A process in the service's control group is under its address rules.
    as_service() { (echo "$BASHPID" >"$cgroup/cgroup.procs" && reach "$1"); }
    as_service 10.99.0.1
    refuses as_service 169.254.9.9
    nginx -c /run/e2e/canary.conf -s stop
    ok 'the kernel keeps it from link-local addresses'
fi
