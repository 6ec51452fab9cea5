# What is built from the same source beside the package.
{ pkgs }:
let
  inherit (pkgs) mollysocket;
  # One of the programs for trying it out, without the package's man page and tests.
  program =
    name: description: cargoBuildFlags: installPhase:
    mollysocket.overrideAttrs (old: {
      pname = name;
      inherit cargoBuildFlags installPhase;
      doCheck = false;
      meta = old.meta // {
        inherit description;
        mainProgram = name;
      };
    });
in
{
  # The way of a message without an account and without network.
  demo =
    program "mollysocket-demo" "Demonstration of MollySocket against simulated servers"
      [
        "--example"
        "demo"
      ]
      ''
        find target -path '*/release/examples/demo' -exec install -D {} $out/bin/mollysocket-demo ';'
      '';

  # Signal and a push server for the tests.
  simulator =
    program "simulator" "Simulated Signal and push servers for the tests of MollySocket"
      [
        "--package"
        "sim"
        "--bins"
      ]
      ''
        find target -path '*/release/simulator' -exec install -D {} $out/bin/simulator ';'
      '';
}
