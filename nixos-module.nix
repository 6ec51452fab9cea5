# services.mollysocket: the daemon as a hardened service that makes its own key, or several of them on one host.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (builtins)
    concatLists
    filter
    length
    match
    toJSON
    ;
  inherit (lib)
    literalExpression
    mkDefault
    mkOption
    optional
    optionalAttrs
    types
    ;

  top = config.services.mollysocket;
  format = pkgs.formats.toml { };
  options = import ./nix/options.nix { inherit lib format; };
  serviceConfig = import ./nix/service.nix { inherit lib; };
  proxies = import ./nix/proxies.nix { inherit lib; };
  assertionsOf = import ./nix/assertions.nix { inherit config lib; };
  commandOf = import ./nix/command.nix { inherit lib pkgs; };

  # The daemons of this host. `unit` also names state, user and command; `option` is what the user calls it.
  daemons =
    optional top.enable (daemon "mollysocket" "services.mollysocket" top)
    ++ concatLists (
      lib.mapAttrsToList (
        name: cfg:
        optional cfg.enable (daemon "mollysocket-${name}" "services.mollysocket.instances.${name}" cfg)
      ) top.instances
    );

  daemon =
    unit: option: cfg:
    let
      settings = lib.filterAttrs (_: value: value != null) (
        cfg.settings
        // optionalAttrs (cfg.allowedUuids != null) { allowed_uuids = cfg.allowedUuids; }
        // optionalAttrs (cfg.allowedEndpoints != null) { allowed_endpoints = cfg.allowedEndpoints; }
      );
      # Where a proxy on this host finds it.
      reachable = {
        "" = "127.0.0.1";
        "0.0.0.0" = "127.0.0.1";
        "::" = "::1";
      };
      bare = lib.removePrefix "[" (lib.removeSuffix "]" settings.host);
      host = reachable.${bare} or bare;
    in
    {
      inherit
        unit
        option
        cfg
        settings
        ;
      upstream = "${if lib.hasInfix ":" host then "[${host}]" else host}:${toString settings.port}";
    };

  # In /etc and not in the store, so that a changed allow list is a reload and not a restart.
  configPath = d: "/etc/${d.unit}/config.toml";
  # What the program does not understand fails here and not at its start.
  configFile =
    d:
    let
      written = format.generate "${d.unit}.toml" d.settings;
    in
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      pkgs.runCommand "${d.unit}-checked.toml" { } ''
        ${lib.getExe d.cfg.package} check-config ${written}
        cp ${written} $out
      ''
    else
      written;
  command =
    d:
    commandOf {
      inherit (d) unit;
      inherit (d.cfg) package;
      service = config.systemd.services.${d.unit};
    };

  allowLists = [
    "allowed_uuids"
    "allowed_endpoints"
  ];
  credentials =
    { vapid, ... }:
    optionalAttrs (vapid.keyFile != null) {
      LoadCredential = [ "vapid.key:${toString vapid.keyFile}" ];
    }
    # By name: LoadCredential= without a path looks for what systemd itself was given (system credentials).
    // optionalAttrs (vapid.credential != null) {
      LoadCredential = [ "vapid.key:${vapid.credential}" ];
    }
    // optionalAttrs (vapid.encryptedKeyFile != null) {
      LoadCredentialEncrypted = [ "vapid.key:${toString vapid.encryptedKeyFile}" ];
    };
  environmentFiles =
    { environmentFiles, environmentFile, ... }:
    let
      all = environmentFiles ++ optional (environmentFile != null) environmentFile;
    in
    optionalAttrs (all != [ ]) { EnvironmentFile = map toString all; };
  serviceOf = d: {
    description = mkDefault "MollySocket${lib.optionalString (d.unit != "mollysocket") " (${d.unit})"}";
    documentation = [ "man:mollysocket(1)" ];
    wantedBy = [ "multi-user.target" ];
    after = [ "network-online.target" ];
    wants = [ "network-online.target" ];
    unitConfig = {
      # Signal keeps what was not delivered, so it is never too late for another attempt.
      StartLimitIntervalSec = mkDefault 0;
    }
    // optionalAttrs (d.cfg.dataDir != null) { RequiresMountsFor = [ d.cfg.dataDir ]; };
    reloadTriggers = [ (toJSON (lib.getAttrs allowLists d.settings)) ];
    restartTriggers = [ (toJSON (removeAttrs d.settings allowLists)) ];
    environment = lib.mapAttrs (_: mkDefault) {
      MOLLY_CONF = configPath d;
      RUST_LOG = d.cfg.logLevel;
      # Few pools of memory instead of one for each thread: some 3 % less of it with many accounts.
      MALLOC_ARENA_MAX = "2";
    };
    serviceConfig =
      serviceConfig {
        inherit (d) unit;
        inherit (d.cfg) dataDir;
        start = "${lib.getExe d.cfg.package} server";
        reload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
      }
      // credentials d.cfg
      // environmentFiles d.cfg;
  };

  # Man page and completions. Not the whole package: its `mollysocket` knows nothing of the service.
  pages = pkgs.runCommand "mollysocket-pages" { } "mkdir $out; ln -s ${top.package}/share $out/share";
  sudoRules = [
    {
      groups = [ top.adminGroup ];
      commands = map (d: {
        command = "${(command d).asService}";
        options = [ "NOPASSWD" ];
      }) daemons;
    }
  ];

  # NAME VALUE of each daemon as one set.
  each = f: lib.listToAttrs (map f daemons);
  moved = filter (d: d.cfg.dataDir != null) daemons;
  proxied = kind: filter (d: d.cfg.${kind}.enable && d.cfg.${kind}.virtualHost != null) daemons;
  listening = filter (d: d.settings.webserver) daemons;
  opened = filter (d: d.cfg.openFirewall) listening;
  # Whether the state of `b` is in the directory of `a`.
  within =
    a: b:
    let
      directory = d: "${lib.removeSuffix "/" (toString d.cfg.dataDir)}/";
    in
    lib.hasPrefix (directory a) (directory b);
  duplicates = list: filter (x: length (filter (y: y == x) list) > 1) list;
in
{
  # nixpkgs declares the same options.
  disabledModules = [ "services/misc/mollysocket.nix" ];

  options.services.mollysocket =
    options.daemon (mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package to run: by default this repository's, made for the host. An overlay counts only when it is named here.";
    })
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
            options =
              options.daemon (mkOption {
                type = types.package;
                default = top.package;
                defaultText = literalExpression "config.services.mollysocket.package";
                description = "The package to run.";
              })
              // {
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
    assertions =
      # First of all the types: a value that is wrong in itself is told before what follows from it.
      concatLists (
        map (
          d:
          builtins.deepSeq d.settings (assertionsOf {
            inherit (d)
              unit
              option
              cfg
              settings
              ;
          })
        ) daemons
      )
      ++ (
        let
          ports = duplicates (map (d: d.settings.port) listening);
          places =
            kind:
            map (d: "${d.cfg.${kind}.virtualHost}${proxies.prefixOf d.cfg.${kind}.location}/") (proxied kind);
        in
        [
          {
            assertion = ports == [ ];
            message = "services.mollysocket: two daemons have the same settings.port (${toString ports}); give each its own.";
          }
          {
            assertion = !lib.any (a: lib.any (b: a.unit != b.unit && within a b) moved) moved;
            message = "services.mollysocket: two daemons have the same dataDir, or one is inside of the other; give each its own.";
          }
          {
            assertion = !lib.any (d: d.unit == top.adminGroup) daemons;
            message = "services.mollysocket: the group of adminGroup and a daemon have the same name, ${top.adminGroup}. The daemon's user would need a group of that name, so it could not start; rename one of them.";
          }
          {
            assertion = duplicates (places "nginx") == [ ] && duplicates (places "caddy") == [ ];
            message = "services.mollysocket: two daemons are at the same place of a virtual host; give each its own location.";
          }
        ]
      );

    warnings = map (
      d:
      "${d.option}.openFirewall opens port ${toString d.settings.port}, but settings.host is ${d.settings.host}: nothing answers there. Set settings.host, for example to \"0.0.0.0\", or leave the port to a reverse proxy."
    ) (filter (d: match "127[.].*|::1|localhost" d.settings.host != null) opened);

    systemd.services = each (d: lib.nameValuePair d.unit (serviceOf d));
    systemd.tmpfiles.settings = lib.listToAttrs (
      map (
        d:
        lib.nameValuePair "10-${d.unit}" {
          ${d.cfg.dataDir}.d = {
            user = d.unit;
            group = d.unit;
            mode = "0700";
          };
        }
      ) moved
    );
    environment.etc = each (
      d: lib.nameValuePair (lib.removePrefix "/etc/" (configPath d)) { source = configFile d; }
    );
    environment.systemPackages = map (d: (command d).command) daemons ++ [ pages ];
    users.groups = {
      ${top.adminGroup} = { };
    }
    // lib.listToAttrs (map (d: lib.nameValuePair d.unit { }) moved);
    users.users = lib.listToAttrs (
      map (
        d:
        lib.nameValuePair d.unit {
          isSystemUser = mkDefault true;
          group = mkDefault d.unit;
        }
      ) moved
    );
    # For whichever of the two is enabled.
    security.sudo.extraRules = sudoRules;
    security.sudo-rs.extraRules = sudoRules;
    networking.firewall.allowedTCPPorts = map (d: d.settings.port) opened;

    services.nginx = lib.mkIf (proxied "nginx" != [ ]) {
      enable = true;
      virtualHosts = lib.mkMerge (
        map (
          d:
          let
            name = d.cfg.nginx.virtualHost;
            host = config.services.nginx.virtualHosts.${name};
          in
          {
            ${name} = {
              # Weaker than a default of the host's. Molly speaks https only. The certificate is the virtual host's: enableACME, useACMEHost or sslCertificate.
              forceSSL = lib.mkOverride 1400 (!(host.addSSL || host.onlySSL || host.rejectSSL));
              locations = proxies.nginxLocations d;
            };
          }
        ) (proxied "nginx")
      );
    };
    services.caddy = lib.mkIf (proxied "caddy" != [ ]) {
      enable = true;
      virtualHosts = lib.mapAttrs (_: here: { extraConfig = proxies.caddyRoutes here; }) (
        lib.groupBy (d: d.cfg.caddy.virtualHost) (proxied "caddy")
      );
    };
  };
}
