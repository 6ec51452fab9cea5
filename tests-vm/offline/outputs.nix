# Evaluates ../../flake.nix without nixpkgs: a stand-in records what the flake hands to it. What the stand-in does not know
# is an error. Prints strict JSON: every output by its name, with what matters of it.
let
  inherit (builtins)
    all
    attrNames
    fromTOML
    functionArgs
    intersectAttrs
    isFunction
    listToAttrs
    map
    mapAttrs
    pathExists
    readFile
    removeAttrs
    substring
    toString
    ;

  flake = import ../../flake.nix;
  top = toString ../..;

  # A package is what it was made from.
  made =
    kind: given:
    given
    // {
      inherit kind;
      type = "derivation";
      name = given.name or given.pname or kind;
      outPath = "/store/${given.name or given.pname or kind}";
      meta = given.meta or { };
      overrideAttrs = change: made kind (given // change given);
    };

  lib = {
    genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
    importTOML = file: fromTOML (readFile file);
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    mkDefault = value: value;
    optionalString = condition: text: if condition then text else "";
    hasPrefix = prefix: text: substring 0 (builtins.stringLength prefix) text == prefix;
    licenses.agpl3Plus = "AGPL-3.0-or-later";
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];
    fileset = {
      unions = files: assert all pathExists files; map (file: builtins.replaceStrings [ "${top}/" ] [ "" ] (toString file)) files;
      toSource = { root, fileset }: fileset;
    };
    evalModules = { modules, specialArgs }: { options.services.mollysocket = "options"; };
  };

  tools = [
    "clippy"
    "installShellFiles"
    "nixfmt-tree"
    "pkg-config"
    "rust-analyzer"
    "rustfmt"
    "sqlite"
    "util-linux"
  ];
  call = pkgs: file: given: let f = import file; in f (intersectAttrs (functionArgs f) pkgs // given);
  static =
    pkgs:
    let
      final = pkgs // {
        sqlite = "sqlite, static";
        callPackage = call final;
        rustPlatform.buildRustPackage = given: made "rust" given // { outPath = "/store/${given.pname}-static"; };
      };
    in
    final;
  packagesFor =
    system:
    let
      base = lib.genAttrs tools (name: name) // {
        inherit lib;
        extend =
          overlay:
          let
            final = base // { callPackage = call final; pkgsStatic = static final; } // overlay final base;
          in
          final;
        stdenv.hostPlatform.system = system;
        rustPlatform.buildRustPackage = made "rust";
        mkShell = made "shell";
        runCommand = name: _: command: made "command" { inherit name command; };
        nixosOptionsDoc = _: { optionsCommonMark = "options"; };
        testers.runNixOSTest = made "test";
        dockerTools = {
          caCertificates = "caCertificates";
          buildLayeredImage = made "image";
        };
      };
    in
    base;

  outputs = flake.outputs {
    self = outputs;
    nixpkgs = {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] packagesFor;
    };
  };

  shown =
    output:
    if isFunction output || !(output ? type) then
      "defined"
    else if output.kind or "" == "test" then
      {
        inherit (output) name testScript;
        machines = attrNames (output.nodes or { }) ++ attrNames (output.containers or { });
        parts = builtins.length (output.nodes or output.containers).machine.imports;
      }
    else
      mapAttrs (_: value: if isFunction value then "function" else value) (
        removeAttrs output [ "inputsFrom" "nativeBuildInputs" "outPath" "overrideAttrs" ] // { path = output.outPath; }
      );
  bySystem = mapAttrs (_: mapAttrs (_: shown));
in
{
  inherit (outputs) apps;
  packages = bySystem outputs.packages;
  checks = bySystem outputs.checks;
  devShells = bySystem outputs.devShells;
  formatter = outputs.formatter;
  modules = attrNames outputs.nixosModules;
  overlays = attrNames outputs.overlays;
  inputs = attrNames flake.inputs;
}
