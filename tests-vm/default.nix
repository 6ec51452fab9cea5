# A test for every directory of ./scenarios that has a NixOS machine, each in a virtual machine. The same scenarios run on
# booted Debian by ./offline/run.
{
  lib,
  pkgs,
  runCommand,
  testers,
  mollysocket,
}:
let
  scenarios = builtins.filter (name: builtins.pathExists (./scenarios + "/${name}/machine.nix")) (
    builtins.attrNames (builtins.readDir ./scenarios)
  );
  inherit
    (import ../nix/packages.nix {
      pkgs = pkgs // {
        inherit mollysocket;
      };
    })
    simulator
    ;

  common =
    { config, pkgs, ... }:
    {
      imports = [ ../nixos-module.nix ];
      services.mollysocket.package = mollysocket;
      environment.systemPackages = [
        pkgs.curl
        pkgs.iproute2
        pkgs.nginx
        pkgs.sqlite
      ];
      environment.etc."e2e".source = ./scenarios;
      networking.hosts."127.0.0.1" = [ "molly.test" ];
      systemd.services.simulator = {
        wantedBy = [ "multi-user.target" ];
        before =
          map (name: "${name}.service") (
            builtins.filter (lib.hasPrefix "mollysocket") (builtins.attrNames config.systemd.services)
          )
          ++ [
            "nginx.service"
            "caddy.service"
          ];
        path = [
          config.systemd.package
          pkgs.openssl
          simulator
        ];
        serviceConfig = {
          Type = "notify";
          NotifyAccess = "all";
          ExecStart = "${pkgs.runtimeShell} /etc/e2e/simulator-start";
        };
      };
      # Tells the scenarios that the kernel is the machine's own and enforces everything.
      systemd.tmpfiles.rules = [ "f /run/e2e/kernel" ];
      virtualisation.credentials."mollysocket.vapid".source = "${key}";
    };
  key = runCommand "vapid-key-for-tests" { } ''
    . ${./scenarios/key.sh}
    printf %s "$VAPID_PRIVATE" >$out
  '';

  reboots = name: builtins.pathExists (./scenarios + "/${name}/after-reboot.sh");
  test =
    name:
    testers.runNixOSTest {
      name = "mollysocket-${name}";
      globalTimeout = 5 * 60;
      nodes.machine.imports = [
        common
        ./scenarios/${name}/machine.nix
      ];
      testScript = ''
        machine.wait_for_unit("multi-user.target")
        print(machine.succeed("bash /etc/e2e/${name}/test.sh 2>&1"))
      ''
      + lib.optionalString (reboots name) ''
        machine.shutdown()
        machine.start()
        machine.wait_for_unit("multi-user.target")
        print(machine.succeed("bash /etc/e2e/${name}/after-reboot.sh 2>&1"))
      '';
    };
in
lib.genAttrs scenarios test
