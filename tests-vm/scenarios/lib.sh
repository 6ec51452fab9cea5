# What the scenarios share. They run as root on a booted machine on which simulator.service and the daemons of their
# machine.nix have been started.
set -Eeuo pipefail
# Inside a function also the lines it was called from.
trap 'echo "FAILED: line $LINENO ${BASH_LINENO[*]}: $BASH_COMMAND" >&2' ERR

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/key.sh"
ACI=0f2b1a3c-1111-4222-8333-444455556666
OTHER=9e8d7c6b-aaaa-4bbb-8ccc-ddddeeeeffff
PASSWORD=pass+word/1==
AGENT='Signal-Android/8.19.2 Android/36'

ok() { echo "ok - $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

# within SECONDS COMMAND... : repeats the command until it succeeds.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "not in time: $*"
        sleep 0.1
    done
}

# refuses COMMAND... : the command must fail.
refuses() { if "$@" >/dev/null 2>&1; then fail "should have failed: $*"; fi; }

# contains PATTERN COMMAND... : what the command prints has a match; containsF takes the pattern as it is. (A pipe into
# `grep -q` would break the command off, and `!` before one would never stop the script.)
contains() {
    local pattern=$1 output
    shift
    output=$("$@")
    grep -q -- "$pattern" <<<"$output" || fail "no $pattern in what $* prints: $output"
}
containsF() { contains "$(sed 's/[][\\.*^$]/\\&/g' <<<"$1")" "${@:2}"; }

# lacks PATTERN COMMAND... : the contrary; the pattern is an extended regular expression.
lacks() {
    local pattern=$1 output
    shift
    output=$("$@")
    if grep -qE -- "$pattern" <<<"$output"; then fail "$pattern is in what $* prints"; fi
}

# sim COMMAND... : tells the simulator something and prints its answer without the leading ok.
sim() {
    local before answer
    before=$(wc -l </run/e2e/answers)
    echo "$*" >/run/e2e/commands
    until [ "$(wc -l </run/e2e/answers)" -gt "$before" ]; do sleep 0.02; done
    answer=$(sed -n "$((before + 1))p" /run/e2e/answers)
    case $answer in
        ok*) answer=${answer#ok} && echo "${answer# }" ;;
        *) echo "simulator: $*: $answer" >&2 && return 1 ;;
    esac
}

# phone UUID : makes Signal know this account.
phone() { sim add "$1" 2 "$PASSWORD" >/dev/null; }

# registration UUID ENDPOINT URL [CURL ARGUMENT...] : registers as Molly does; prints the status word.
registration() {
    local uuid=$1 endpoint=$2 url=$3 answer
    shift 3
    answer=$(curl -sS --max-time 15 "$@" -A "$AGENT" -H 'Content-Type: application/json; charset=utf-8' \
        -d "{\"uuid\":\"$uuid\",\"device_id\":2,\"password\":\"$PASSWORD\",\"endpoint\":\"$endpoint\"}" "$url")
    sed -n 's/.*"status":"\([a-z_]*\)".*/\1/p' <<<"$answer"
}

# linked UUID [PORT] : a registered account whose connection stands, after the test push, which no answer waits for.
linked() {
    local endpoint status pushes
    phone "$1"
    pushes=$(sim pushes)
    endpoint=$(sim endpoint "up-$1")
    status=$(registration "$1" "$endpoint" "http://127.0.0.1:${2:-8020}/")
    [ "$status" = ok ] || fail "registration: $status"
    sim wait-pushes $((pushes + 1)) 20 >/dev/null
    sim wait-connected "$1" 2 20 >/dev/null
}

# wakes UUID : a message that arrives now leads to a push and then to its acknowledgement.
wakes() {
    local pushes acked
    pushes=$(sim pushes)
    acked=$(sim counters "$1" 2 | grep -o ' acked=[0-9]*' | cut -d= -f2)
    sim send "$1" 2 >/dev/null
    sim wait-pushes $((pushes + 1)) 30 >/dev/null
    [ "$(sim push $((pushes + 1)) body)" = '{"urgent":true}' ] || fail 'the push does not say "wake up"'
    sim wait-acks "$1" 2 $((acked + 1)) 30 >/dev/null
}

# field UNIT PROPERTY
field() { systemctl show --value --property="$2" "$1"; }

# public_key PORT : the public key in the link of a daemon.
public_key() { curl -fsS "http://127.0.0.1:$1/?airgapped" | grep -o 'vapid=[A-Za-z0-9_-]*' | head -1; }

within 30 systemctl is-active --quiet simulator.service
