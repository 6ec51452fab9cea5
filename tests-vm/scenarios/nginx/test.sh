# nginx.
. "$(dirname "$0")/../proxied.sh"
