# What nginx and Caddy need to pass requests on to the daemons. Both tell the program the path that phones use, and take
# away the headers by which clients could claim another address.
{ lib }:
let
  inherit (builtins) concatStringsSep stringLength;
  # The path below which phones reach a daemon, without the slash at its end.
  prefixOf = location: if location == "/" then "" else lib.removeSuffix "/" location;
in
{
  inherit prefixOf;

  # Two locations below a path: nginx redirects `/molly` to `/molly/` by itself, and Molly follows no redirect.
  nginxLocations =
    { upstream, cfg, ... }:
    let
      prefix = prefixOf cfg.nginx.location;
      to = {
        proxyPass = "http://${upstream}/";
        # They would set Host a second time.
        recommendedProxySettings = false;
        extraConfig = ''
          proxy_set_header Host $http_host;
          proxy_set_header X-Original-URL $request_uri;
          # What a client claims stays at the left: the program reads from the right, as far as it trusts.
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_set_header X-Forwarded-Proto $scheme;
          proxy_set_header X-Forwarded-Host $http_host;
          proxy_set_header X-Forwarded-Prefix "";
          proxy_set_header Forwarded "";
        '';
      };
    in
    { "${prefix}/" = to; } // lib.optionalAttrs (prefix != "") { "= ${prefix}" = to; };

  # A virtual host's routes in one text: Caddy takes the first that matches, so the longest path comes first.
  caddyRoutes =
    daemons:
    let
      depth = { cfg, ... }: stringLength (prefixOf cfg.caddy.location);
      route =
        {
          unit,
          upstream,
          cfg,
          ...
        }:
        let
          prefix = prefixOf cfg.caddy.location;
        in
        ''
          @${unit} path ${prefix}/* ${prefix}
          handle @${unit} {
            ${lib.optionalString (prefix != "") "uri strip_prefix ${prefix}"}
            reverse_proxy ${upstream} {
              header_up X-Original-URL {http.request.orig_uri}
              # Caddy sets the other X-Forwarded-* anew.
              header_up -Forwarded
              header_up -X-Forwarded-Prefix
            }
          }
        '';
    in
    concatStringsSep "\n" (map route (lib.sort (a: b: depth a > depth b) daemons));
}
