# A test for every directory of ./scenarios that has a NixOS machine, each in a virtual machine (vm-…) and, where a kernel of its own is not
# needed, in a container (container-…). The same scenarios run on booted Debian by ./offline/run.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  scenarios = builtins.filter (name: builtins.pathExists (./scenarios + "/${name}/machine.nix")) (
    builtins.attrNames (builtins.readDir ./scenarios)
  );
  simulator = self.packages.${pkgs.stdenv.hostPlatform.system}.simulator;

  common =
    { config, ... }:
    {
      imports = [ self.nixosModules.default ];
      environment.systemPackages = with pkgs; [
        curl
        iproute2
        nginx
        sqlite
      ];
      environment.etc."e2e".source = ./scenarios;
      networking.hosts."127.0.0.1" = [ "molly.test" ];
      systemd.services.simulator = {
        wantedBy = [ "multi-user.target" ];
        before = map (name: "${name}.service") (
          builtins.filter (lib.hasPrefix "mollysocket") (builtins.attrNames config.systemd.services)
        ) ++ [
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
    };

  # Where the kernel enforces what a container's host may not let it.
  virtual = {
    systemd.tmpfiles.rules = [ "f /run/e2e/kernel" ];
    virtualisation.credentials."mollysocket.vapid".source = "${key}";
  };
  key = pkgs.runCommand "vapid-key-for-tests" { } ''
    . ${./scenarios/key.sh}
    printf %s "$VAPID_PRIVATE" >$out
  '';

  script = name: ''
    machine.wait_for_unit("multi-user.target")
    print(machine.succeed("bash /etc/e2e/${name}/test.sh 2>&1"))
    ${lib.optionalString (reboots name) ''
      machine.shutdown()
      machine.start()
      machine.wait_for_unit("multi-user.target")
      print(machine.succeed("bash /etc/e2e/${name}/after-reboot.sh 2>&1"))
    ''}
  '';
  reboots = name: builtins.pathExists (./scenarios + "/${name}/after-reboot.sh");

  test = name: extra: pkgs.testers.runNixOSTest ({ globalTimeout = 5 * 60; testScript = script name; } // extra);
  vm = name: {
    name = "vm-${name}";
    value = test name {
      name = "mollysocket-${name}";
      nodes.machine.imports = [
        common
        virtual
        ./scenarios/${name}/machine.nix
      ];
    };
  };
  container = name: {
    name = "container-${name}";
    value = test name {
      name = "mollysocket-${name}-container";
      containers.machine.imports = [
        common
        ./scenarios/${name}/machine.nix
      ];
    };
  };
  contained = builtins.filter (name: !reboots name && name != "credentials") scenarios;
in
builtins.listToAttrs (map vm scenarios ++ map container contained)
