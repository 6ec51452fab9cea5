# What is made from the package.
{ pkgs }:
let
  inherit (pkgs) lib mollysocket;
  static = pkgs.pkgsStatic.callPackage ../package.nix { };
in
{
  # One file that runs on any Linux of this architecture.
  inherit static;

  # An image with that file and the certificates of the public authorities, and nothing else.
  container = pkgs.dockerTools.buildLayeredImage {
    name = "mollysocket";
    tag = mollysocket.version;
    contents = [ pkgs.dockerTools.caCertificates ];
    fakeRootCommands = "install -d -m 700 -o 65532 -g 65532 data";
    enableFakechroot = false;
    config = {
      Entrypoint = [ (lib.getExe static) ];
      Cmd = [ "server" ];
      User = "65532:65532";
      WorkingDir = "/data";
      Volumes."/data" = { };
      # Other containers reach it; the port is published by the operator's decision only.
      Env = [
        "MOLLY_HOST=0.0.0.0"
        "RUST_LOG=info"
      ];
      ExposedPorts."8020/tcp" = { };
      StopSignal = "SIGTERM";
    };
  };

  # The way of a message without an account and without network.
  demo = mollysocket.overrideAttrs (old: {
    pname = "mollysocket-demo";
    cargoBuildFlags = [
      "--example"
      "demo"
    ];
    doCheck = false;
    installPhase = ''
      find target -path '*/release/examples/demo' -exec install -D {} $out/bin/mollysocket-demo ';'
    '';
    meta = old.meta // {
      description = "Demonstration of MollySocket against simulated servers";
      mainProgram = "mollysocket-demo";
    };
  });

  # Signal and a push server for the tests.
  simulator = mollysocket.overrideAttrs (old: {
    pname = "mollysocket-simulator";
    cargoBuildFlags = [
      "--package"
      "sim"
      "--bins"
    ];
    doCheck = false;
    postInstall = "";
    meta = old.meta // {
      description = "Simulated Signal and push servers for the tests of MollySocket";
      mainProgram = "simulator";
    };
  });
}
