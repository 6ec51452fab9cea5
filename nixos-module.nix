# services.mollysocket: the daemon as a hardened service that makes its own key, or several of them on one host.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types optionalAttrs;
  inherit (builtins)
    any
    attrNames
    concatLists
    concatStringsSep
    elem
    filter
    isPath
    length
    listToAttrs
    map
    match
    sort
    stringLength
    toJSON
    toString
    ;

  top = config.services.mollysocket;
  format = pkgs.formats.toml { };
  options = import ./nix/options.nix { inherit lib format; };
  serviceConfig = import ./nix/service.nix { inherit lib; };

  # The daemons of this host, each as { unit, cfg }. `unit` also names state, user and command.
  daemons =
    (if top.enable then [ (daemon "mollysocket" top) ] else [ ])
    ++ concatLists (
      map (
        name:
        let
          cfg = top.instances.${name};
        in
        if cfg.enable then [ (daemon "mollysocket-${name}" cfg) ] else [ ]
      ) (attrNames top.instances)
    );

  daemon = unit: cfg: rec {
    inherit unit cfg;
    # What the user calls it.
    option = if unit == "mollysocket" then "services.mollysocket" else "services.mollysocket.instances.${lib.removePrefix "mollysocket-" unit}";
    settings = lib.filterAttrs (_: value: value != null) (
      cfg.settings
      // optionalAttrs (cfg.allowedUuids != null) { allowed_uuids = cfg.allowedUuids; }
      // optionalAttrs (cfg.allowedEndpoints != null) { allowed_endpoints = cfg.allowedEndpoints; }
    );
    # In /etc and not in the store, so that a changed allow list is a reload and not a restart.
    configPath = "/etc/${unit}/config.toml";
    configFile = format.generate "${unit}.toml" settings;
    # Where a proxy on this host finds it.
    upstream =
      let
        host = settings.host;
        reachable = if host == "0.0.0.0" then "127.0.0.1" else if host == "::" then "::1" else host;
      in
      "${if match ".*:.*" reachable != null then "[${reachable}]" else reachable}:${toString settings.port}";
    # Path below which phones reach it, without the slash at its end.
    prefixOf = location: if location == "/" then "" else lib.removeSuffix "/" location;
    credentials =
      optionalAttrs (cfg.vapid.keyFile != null) { LoadCredential = [ "vapid.key:${toString cfg.vapid.keyFile}" ]; }
      # By name: LoadCredential= without a path looks for what systemd itself was given (system credentials).
      // optionalAttrs (cfg.vapid.credential != null) { LoadCredential = [ "vapid.key:${cfg.vapid.credential}" ]; }
      // optionalAttrs (cfg.vapid.encryptedKeyFile != null) {
        LoadCredentialEncrypted = [ "vapid.key:${toString cfg.vapid.encryptedKeyFile}" ];
      };
    environmentFile = optionalAttrs (cfg.environmentFile != null) { EnvironmentFile = toString cfg.environmentFile; };
    cli = import ./nix/cli.nix { inherit lib pkgs; } {
      inherit unit configPath;
      package = cfg.package;
      properties = credentials // environmentFile;
    };
  };

  # Man page and completions. Not the whole package: its `mollysocket` knows nothing of the service.
  pages = pkgs.runCommand "mollysocket-pages" { } "mkdir $out; ln -s ${top.package}/share $out/share";

  forAll = f: listToAttrs (map f daemons);
  merged = f: lib.mkMerge (map f daemons);

  unitOf = d: {
    name = d.unit;
    value = {
      description = "MollySocket${if d.unit == "mollysocket" then "" else " (${d.unit})"}";
      documentation = [ "https://github.com/mollyim/mollysocket" ];
      wantedBy = [ "multi-user.target" ];
      after = [ "network-online.target" ];
      wants = [ "network-online.target" ];
      # Signal keeps what was not delivered, so it is never too late for another attempt.
      startLimitIntervalSec = 0;
      reloadTriggers = [ (toJSON { inherit (d.settings) allowed_uuids allowed_endpoints; }) ];
      restartTriggers = [
        (toJSON (
          removeAttrs d.settings [
            "allowed_uuids"
            "allowed_endpoints"
          ]
        ))
      ];
      environment = {
        MOLLY_CONF = d.configPath;
        RUST_LOG = d.cfg.logLevel;
        # Few pools of memory instead of one for each thread: some 3 % less of it with many accounts.
        MALLOC_ARENA_MAX = "2";
      };
      serviceConfig =
        serviceConfig {
          inherit (d) unit cfg;
          start = "${lib.getExe d.cfg.package} server";
          reload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        }
        // d.credentials
        // d.environmentFile;
    };
  };

  sudoRules = [
    {
      groups = [ top.adminGroup ];
      commands = map (d: {
        command = "${d.cli.asService}";
        options = [ "NOPASSWD" ];
      }) daemons;
    }
  ];

  proxied = kind: filter (d: d.cfg.${kind}.enable) daemons;

  # Two locations below a path: nginx redirects `/molly` to `/molly/` by itself, and Molly follows no redirect.
  nginxLocations =
    d:
    let
      prefix = d.prefixOf d.cfg.nginx.location;
      to = {
        proxyPass = "http://${d.upstream}/";
        # They would set Host a second time.
        recommendedProxySettings = false;
        extraConfig = ''
          proxy_set_header Host $http_host;
          proxy_set_header X-Original-URL $request_uri;
          # What a client claims stays at the left: the program reads from the right, as far as it trusts.
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_set_header X-Forwarded-Proto $scheme;
          # Clients can send these as well, and would be believed.
          proxy_set_header X-Forwarded-Host $http_host;
          proxy_set_header X-Forwarded-Prefix "";
          proxy_set_header Forwarded "";
        '';
      };
    in
    { "${prefix}/" = to; } // optionalAttrs (prefix != "") { "= ${prefix}" = to; };

  caddyRoute =
    d:
    let
      prefix = d.prefixOf d.cfg.caddy.location;
    in
    ''
      @${d.unit} path ${prefix}/* ${prefix}
      handle @${d.unit} {
        ${if prefix == "" then "" else "uri strip_prefix ${prefix}"}
        reverse_proxy ${d.upstream} {
          header_up X-Original-URL {http.request.orig_uri}
          # Clients can send these as well, and would be believed. Caddy sets the other X-Forwarded-* anew.
          header_up -Forwarded
          header_up -X-Forwarded-Prefix
        }
      }
    '';

  # A virtual host's routes in one text: Caddy takes the first that matches, so the longest path comes first.
  caddyHost =
    host:
    let
      here = filter (d: d.cfg.caddy.virtualHost == host) (proxied "caddy");
      depth = d: stringLength (d.prefixOf d.cfg.caddy.location);
    in
    {
      name = host;
      value.extraConfig = concatStringsSep "\n" (map caddyRoute (sort (a: b: depth a > depth b) here));
    };

  inStore = path: path != null && (isPath path || lib.hasPrefix builtins.storeDir (toString path));
  # Whether the address names a user or a password.
  hasLogin = url: url != null && match "[^/]*://[^/?#]*@.*" url != null;
  isLocation = location: match "/([A-Za-z0-9._~-]+/)*[A-Za-z0-9._~-]*" location != null;
  # Whether it is in one of the directories; a relative path is in the state directory.
  isBelow =
    directories: path:
    path == null
    || match "(.*/)?[.][.](/.*)?" path == null
    && (!lib.hasPrefix "/" path || any (directory: lib.hasPrefix "${directory}/" path) directories);
  duplicates = list: filter (x: length (filter (y: y == x) list) > 1) list;

  assertionsOf =
    d:
    let
      inherit (d) cfg settings;
      sources = filter (source: source != null) [
        cfg.vapid.keyFile
        cfg.vapid.encryptedKeyFile
        cfg.vapid.credential
        (settings.vapid_key_file or null)
      ];
      state = [
        "/var/lib/${d.unit}"
        "/var/lib/private/${d.unit}"
      ];
      reachable = isBelow (state ++ [ "/run/${d.unit}" ]);
      check = assertion: message: {
        inherit assertion;
        message = "${d.option}${message}";
      };
    in
    [
      (check (length sources <= 1) ".vapid: there is more than one source of the key; set one of keyFile, encryptedKeyFile, credential and settings.vapid_key_file.")
      (check (!(settings ? vapid_privkey)) ".settings.vapid_privkey: everybody on this host could read the key in the Nix store; use vapid.keyFile or vapid.encryptedKeyFile.")
      (check (!any hasLogin settings.allowed_endpoints) ".settings.allowed_endpoints: everybody on this host could read the password in the Nix store; put the list into environmentFile as MOLLY_ALLOWED_ENDPOINTS.")
      (check (!any inStore [ cfg.vapid.keyFile cfg.vapid.encryptedKeyFile cfg.environmentFile (settings.vapid_key_file or null) ]) ": a file with a secret is in the Nix store, where everybody on this host can read it; give its path as a string outside of ${builtins.storeDir}.")
      (check (!hasLogin (settings.heartbeat_url or null)) ".settings.heartbeat_url: everybody on this host could read the password in the Nix store; put the address into environmentFile as MOLLY_HEARTBEAT_URL.")
      (check (!hasLogin (settings.signal_url or null)) ".settings.signal_url: everybody on this host could read the password in the Nix store; put the address into environmentFile as MOLLY_SIGNAL_URL.")
      (check (!hasLogin (settings.public_url or null)) ".settings.public_url: phones send no user or password, and everybody could read them; leave them out.")
      (check (cfg.vapid.credential == null || match "[A-Za-z0-9._-]+" cfg.vapid.credential != null) ".vapid.credential is the name of a credential, of letters, digits and ._-, not a path; for a file set vapid.keyFile.")
      (check (isBelow (state ++ [ "/run/credentials" ]) (settings.vapid_key_file or null)) ".settings.vapid_key_file: the service cannot read this file; set vapid.keyFile instead, which passes it on.")
      (check (reachable (settings.db or null)) ".settings.db: the service can write only below /var/lib/${d.unit}; mount another disk there, or leave the directory out.")
      (check (reachable (settings.admin_socket or null)) ".settings.admin_socket: the service can write only below /run/${d.unit} and /var/lib/${d.unit}.")
      (check (settings.port >= 1024) ".settings.port: the service has no right to ports below 1024; keep the default and put nginx or caddy in front of it.")
      (check (!(settings ? public_url) || lib.hasPrefix "https://" settings.public_url) ".settings.public_url must begin with https://, because phones accept nothing else.")
      (check (cfg.allowedUuids == null || cfg.settings.allowed_uuids == [ "*" ]) ": set allowedUuids or settings.allowed_uuids, not both.")
      (check (cfg.allowedEndpoints == null || cfg.settings.allowed_endpoints == [ "*" ]) ": set allowedEndpoints or settings.allowed_endpoints, not both.")
      (check (settings.webserver || !(cfg.nginx.enable || cfg.caddy.enable)) ": a reverse proxy has nothing to pass requests to while settings.webserver is false.")
      (check (!cfg.nginx.enable || cfg.nginx.virtualHost != null) ".nginx.virtualHost: say which virtual host phones reach, for example \"molly.example.org\".")
      (check (!cfg.caddy.enable || cfg.caddy.virtualHost != null) ".caddy.virtualHost: say which virtual host phones reach, for example \"molly.example.org\".")
      (check (isLocation cfg.nginx.location) ".nginx.location must begin with / and hold letters, digits and ._~- between single slashes, for example \"/molly/\".")
      (check (isLocation cfg.caddy.location) ".caddy.location must begin with / and hold letters, digits and ._~- between single slashes, for example \"/molly/\".")
      # Without the flake's module or overlay `pkgs.mollysocket` is nixpkgs' own, which never tells that it is ready.
      (check (builtins.compareVersions (cfg.package.version or "2") "2" >= 0) ".package is mollysocket ${cfg.package.version or ""}, but this module needs 2.0 or later: import mollysocket.nixosModules.default of the flake, or set the option to its package.")
      (check (match "[a-z0-9-]{1,31}" d.unit != null) ": the name of an instance has at most 19 small letters, digits and hyphens.")
    ];
in
{
  # nixpkgs declares the same options.
  disabledModules = [ "services/misc/mollysocket.nix" ];

  options.services.mollysocket =
    options.daemon (lib.mkPackageOption pkgs "mollysocket" { })
    // {
      enable = lib.mkEnableOption "MollySocket, which wakes Molly (Signal for Android) through UnifiedPush";
      adminGroup = mkOption {
        type = types.str;
        default = "mollysocket-admin";
        description = "Group whose members may run the `mollysocket` command without a password. It acts as the service's own user, never as root.";
      };
      instances = mkOption {
        type = types.attrsOf (
          types.submodule {
            options = options.daemon (
              mkOption {
                type = types.package;
                default = top.package;
                defaultText = lib.literalExpression "config.services.mollysocket.package";
                description = "The package to run.";
              }
            ) // {
              enable = mkOption {
                type = types.bool;
                default = true;
                description = "Whether to run this daemon.";
              };
            };
          }
        );
        default = { };
        description = "More daemons, each as the unit and command `mollysocket-<name>` with its own state, port and key.";
      };
    };

  config = lib.mkIf (daemons != [ ]) {
    assertions = concatLists (map assertionsOf daemons) ++ (
      let
        ports = map (d: d.settings.port) (filter (d: d.settings.webserver) daemons);
        places = kind: map (d: "${toString d.cfg.${kind}.virtualHost}${d.prefixOf d.cfg.${kind}.location}/") (proxied kind);
      in
      [
        {
          assertion = duplicates ports == [ ];
          message = "services.mollysocket: two daemons have the same settings.port (${toString (duplicates ports)}); give each its own.";
        }
        {
          assertion = !any (d: d.unit == top.adminGroup) daemons;
          message = "services.mollysocket: the group of adminGroup and a daemon have the same name, ${top.adminGroup}. The daemon's user would need a group of that name, so it could not start; rename one of them.";
        }
        {
          assertion = duplicates (places "nginx") == [ ] && duplicates (places "caddy") == [ ];
          message = "services.mollysocket: two daemons are at the same place of a virtual host; give each its own location.";
        }
      ]
    );

    warnings = concatLists (
      map (
        d:
        if d.cfg.openFirewall && d.settings.webserver && elem d.settings.host [ "127.0.0.1" "::1" "localhost" ] then
          [ "${d.option}.openFirewall opens port ${toString d.settings.port}, but settings.host is ${d.settings.host}: nothing answers there. Set settings.host, for example to \"0.0.0.0\", or leave the port to a reverse proxy." ]
        else
          [ ]
      ) daemons
    );

    systemd.services = forAll unitOf;
    environment.etc = forAll (d: {
      name = lib.removePrefix "/etc/" d.configPath;
      value.source = d.configFile;
    });
    environment.systemPackages = map (d: d.cli.command) daemons ++ [ pages ];
    users.groups.${top.adminGroup} = { };
    # For whichever of the two is enabled.
    security.sudo.extraRules = sudoRules;
    security.sudo-rs.extraRules = sudoRules;
    networking.firewall.allowedTCPPorts = concatLists (
      map (d: if d.cfg.openFirewall && d.settings.webserver then [ d.settings.port ] else [ ]) daemons
    );

    services.nginx = lib.mkIf (proxied "nginx" != [ ]) {
      enable = true;
      virtualHosts = lib.mkMerge (
        map (d: {
          ${d.cfg.nginx.virtualHost} = {
            # Molly speaks https only. The certificate is the virtual host's: enableACME, useACMEHost or sslCertificate.
            forceSSL = lib.mkDefault true;
            locations = nginxLocations d;
          };
        }) (proxied "nginx")
      );
    };
    services.caddy = lib.mkIf (proxied "caddy" != [ ]) {
      enable = true;
      virtualHosts = listToAttrs (map (d: caddyHost d.cfg.caddy.virtualHost) (filter (d: d.cfg.caddy.virtualHost != null) (proxied "caddy")));
    };
  };
}
