# A real web server with TLS in front, under a sub-path: the same for each of them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
tls=(--cacert /run/e2e/tls.crt --resolve molly.test:443:127.0.0.1)
ready() { curl -fsS "${tls[@]}" https://molly.test/molly/; }
within 20 ready
page=$(ready)
grep -q 'url=https%3A%2F%2Fmolly.test%2Fmolly%2F' <<<"$page" || fail 'the link does not name the sub-path'
lacks 'class="warn"' echo "$page"
ok 'the link names the sub-path, and the page has no doubts'
contains '"mollysocket":{"version":' curl -fsS "${tls[@]}" -A "$AGENT" https://molly.test/molly/discover
phone $ACI
phone $OTHER
[ "$(registration $ACI "$(sim endpoint up1)" https://molly.test/molly/ "${tls[@]}")" = ok ]
[ "$(registration $OTHER "$(sim endpoint up2)" https://molly.test/molly "${tls[@]}")" = ok ]
ok 'phones register with and without the slash, and are never redirected'
sim wait-connected $ACI 2 20
wakes $ACI
ok 'a message wakes the phone'
elsewhere() { curl -s -w ' %{http_code}' "${tls[@]}" "https://molly.test/$1"; }
lacks mollysocket elsewhere ''
[ "$(elsewhere mollyx)" = "$(elsewhere x)" ]
ok 'the rest of the virtual host is not ours'
