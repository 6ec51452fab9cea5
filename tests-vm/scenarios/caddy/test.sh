# Caddy.
. "$(dirname "$0")/../proxied.sh"
