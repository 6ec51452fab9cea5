# The systems of ../configurations.nix, evaluated with the nixpkgs at $NIXPKGS: what fails, what is warned of, and what the
# module wrote. Strict JSON, a list in the order of the table:
#   nix-instantiate --eval --strict --json tests-vm/offline/evaluate.nix --arg numbers '[ 0 1 ]'
{
  # Which of the table's rows.
  numbers ? null,
}:
let
  nixpkgs = builtins.getEnv "NIXPKGS";
  lib = import (nixpkgs + "/lib");
  pkgs = import nixpkgs {
    system = "x86_64-linux";
    config = { };
    overlays = [ ];
  };
  flake = (import ../../flake.nix).outputs {
    self = flake;
    nixpkgs = {
      inherit lib;
      legacyPackages = { };
    };
  };
  table = import ../configurations.nix { inherit lib pkgs; };

  system =
    row:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        {
          # What every machine has.
          fileSystems."/" = {
            device = "/dev/disk/by-label/root";
            fsType = "ext4";
          };
          boot.loader.grub.device = "nodev";
          system.stateVersion = "26.05";
          documentation.enable = false;
          # So that its configuration has a name to be found by.
          services.nginx.enableReload = true;
        }
        (if row ? platform then { nixpkgs = row.platform; } else { nixpkgs.pkgs = pkgs; })
        flake.nixosModules.default
        row.config
      ];
    };

  result =
    row:
    let
      inherit (system row) config;
      ours = lib.filterAttrs (name: _: lib.hasPrefix "mollysocket" name);
      services = ours config.systemd.services;
      triggers = service: map builtins.fromJSON (service.reloadTriggers ++ service.restartTriggers);
      commands = builtins.filter (p: p ? asService) config.environment.systemPackages;
      top = config.services.mollysocket;
      failed = map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
    in
    {
      inherit failed;
      inherit (config) warnings;
    }
    // lib.optionalAttrs (failed == [ ]) {
      units = lib.mapAttrs (name: _: config.systemd.units."${name}.service".text) services;
      settings = lib.mapAttrs (_: s: lib.foldl' (a: b: a // b) { } (triggers s)) services;
      reloads = lib.mapAttrs (
        _: s: builtins.attrNames (builtins.fromJSON (lib.head s.reloadTriggers))
      ) services;
      commands = map (p: p.asService.text) commands;
      sudo =
        if config.security.sudo-rs.enable then
          config.security.sudo-rs.configFile
        else
          config.security.sudo.configFile;
      users = builtins.attrNames (ours config.users.users);
      groups = builtins.attrNames (ours config.users.groups);
      firewall = config.networking.firewall.allowedTCPPorts;
      nginx =
        lib.optionalString config.services.nginx.enable
          config.environment.etc."nginx/nginx.conf".source.text;
      caddy = lib.mapAttrs (_: host: host.extraConfig) config.services.caddy.virtualHosts;
      # Of the machine the package is for.
      platform = if services == { } then null else top.package.stdenv.hostPlatform.system or null;
      toplevel = config.system.build.toplevel.drvPath;
    };
  rows = if numbers == null then table else map (builtins.elemAt table) numbers;
in
{
  # Without what was evaluated.
  table = map (
    row:
    removeAttrs row [
      "config"
      "platform"
    ]
  ) table;
  # null for those whose evaluation ends with an error.
  results = map (
    row:
    let
      it = result row;
      tried = builtins.tryEval (builtins.deepSeq it it);
    in
    if tried.success then tried.value else null
  ) rows;
  # The first of them, with its error.
  alone = result (lib.head rows);
  # The module's options, as NixOS' manual has them.
  options =
    (pkgs.nixosOptionsDoc {
      options = {
        inherit ((system { config = { }; }).options.services) mollysocket;
      };
    }).optionsNix;
}
