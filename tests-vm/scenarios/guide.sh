# guide HEADING [PAGE] : runs the commands below a heading of the guide.
guide() {
    local commands page=${2:-docs/systemd.md}
    commands=$(awk -v heading="## $1" '$0 == heading { on = 1; next } /^## / { on = 0 }
        on && $0 == "```" { code = 0 } on && code { print } on && $0 == "```sh" { code = 1 }' "$page")
    [ -n "$commands" ] || fail "no commands below $1"
    bash -euo pipefail -c "$commands" >/dev/null
}
