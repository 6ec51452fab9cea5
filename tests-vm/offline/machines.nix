# The machine of each scenario as NixOS evaluates it, in links into the store that a Debian with systemd can boot with:
# etc/systemd/system/mollysocket.service and so on. $NIXPKGS, $STANDIN and $SOURCE as in nixpkgs/flake.nix; `package` is the built package,
# a path in the store. Their programs are the Debian's (nixpkgs/debian.nix), but for the package.
{ package }:
let
  nixpkgs = builtins.getEnv "NIXPKGS";
  pkgs = (import (builtins.getEnv "STANDIN") { src = /. + builtins.getEnv "SOURCE"; }).extend (
    import ./nixpkgs/debian.nix
  );
  inherit (pkgs) lib;

  system =
    machine:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        ../../nixos-module.nix
        machine
        {
          nixpkgs.pkgs = pkgs;
          i18n.glibcLocales = pkgs.glibcLocales;
          environment.corePackages = lib.mkForce [ ];
          system.stateVersion = "26.05";
          services.mollysocket.package = {
            type = "derivation";
            name = "mollysocket";
            outPath = builtins.storePath package;
            meta.mainProgram = "mollysocket";
          };
          # So that its configuration is in /etc; it is checked by starting it.
          services.nginx = {
            enableReload = true;
            validateConfigFile = false;
          };
        }
        (
          { config, ... }:
          {
            # Where Debian's nginx keeps what it cannot hold in memory.
            systemd.services.nginx = lib.mkIf config.services.nginx.enable {
              serviceConfig.StateDirectory = "nginx";
            };
          }
        )
      ];
    };

  files =
    name: machine:
    let
      inherit (system machine) config;
      ours = lib.filterAttrs (name: _: lib.hasPrefix "mollysocket" name || name == "nginx");
      file = path: text: lib.nameValuePair path (pkgs.writeText (baseNameOf path) text);
      each = f: set: lib.concatLists (lib.mapAttrsToList f set);
      units = each (
        name: _:
        let
          unit = config.systemd.units."${name}.service";
          written = pkgs.writeText "${name}.service" unit.text;
        in
        map (place: lib.nameValuePair "etc/systemd/system/${place}${name}.service" written) (
          [ "" ] ++ map (target: "${target}.wants/") unit.wantedBy
        )
      ) (ours config.systemd.services);
      etc = each (name: f: [ (lib.nameValuePair "etc/${name}" f.source) ]) (
        lib.filterAttrs (
          name: _: lib.hasPrefix "mollysocket" name || name == "nginx/nginx.conf"
        ) config.environment.etc
      );
      commands = map (p: lib.nameValuePair "usr/local/bin/${p.name}" "${p}/bin/${p.name}") (
        builtins.filter (p: p ? asService) config.environment.systemPackages
      );
      made = map (p: lib.nameValuePair "etc/tmpfiles.d/${p.name}" "${p}/lib/tmpfiles.d/${p.name}") (
        builtins.filter (p: lib.hasPrefix "10-mollysocket" (p.name or "")) config.systemd.tmpfiles.packages
      );
      accounts =
        lib.concatMapStrings (group: "g ${group}\n") (builtins.attrNames (ours config.users.groups))
        + lib.concatMapStrings (user: "u ${user} -:${config.users.users.${user}.group}\n") (
          builtins.attrNames (ours config.users.users)
        );
      # Caddy of nixpkgs would format the file.
      sites = lib.concatStrings (
        lib.mapAttrsToList (
          host: site: "${host} {\n${site.extraConfig}\n}\n"
        ) config.services.caddy.virtualHosts
      );
    in
    pkgs.linkFarm name (
      lib.listToAttrs (
        units
        ++ etc
        ++ commands
        ++ made
        ++ [
          (file "etc/sudoers" "${config.security.sudo.configFile}\n@includedir /etc/sudoers.d\n")
          (file "etc/sysusers.d/mollysocket.conf" accounts)
        ]
        ++ lib.optional config.services.caddy.enable (file "etc/caddy/Caddyfile" sites)
      )
    );

  scenarios = lib.filterAttrs (name: _: builtins.pathExists (../scenarios + "/${name}/machine.nix")) (
    builtins.readDir ../scenarios
  );
  mistakes = builtins.filter (row: row ? unbuilt) (
    import ../configurations.nix { inherit lib pkgs; }
  );
in
{
  # NAME/ for each scenario.
  all = pkgs.linkFarm "machines" (
    lib.mapAttrs (name: _: files name (../scenarios + "/${name}/machine.nix")) scenarios
  );
  # Configuration files that cannot be built, and what is said then.
  mistakes = map (
    row: (system row.config).config.environment.etc."mollysocket/config.toml".source
  ) mistakes;
  messages = map (row: row.unbuilt) mistakes;
}
