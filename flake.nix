{
  description = "MollySocket: wakes Molly (Signal for Android) through UnifiedPush";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # What is built here. The module and the overlay know no list: they make the package for whatever the host is.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem =
        f: lib.genAttrs systems (system: f (nixpkgs.legacyPackages.${system}.extend self.overlays.default));
    in
    {
      overlays.default = final: _prev: { mollysocket = final.callPackage ./package.nix { }; };

      packages = eachSystem (
        pkgs:
        import ./nix/packages.nix { inherit pkgs; }
        // {
          inherit (pkgs) mollysocket;
          default = pkgs.mollysocket;
        }
      );

      apps = eachSystem (
        pkgs:
        let
          app = package: {
            type = "app";
            program = lib.getExe package;
            meta = { inherit (package.meta) description; };
          };
        in
        {
          default = app pkgs.mollysocket;
          demo = app self.packages.${pkgs.stdenv.hostPlatform.system}.demo;
        }
      );

      nixosModules = {
        default = ./nixos-module.nix;
        mollysocket = ./nixos-module.nix;
      };

      devShells = eachSystem (pkgs: {
        default = pkgs.mkShell {
          inputsFrom = [ pkgs.mollysocket ];
          packages = [
            pkgs.clippy
            pkgs.rustfmt
            pkgs.rust-analyzer
          ];
        };
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);

      # The package with its own tests, and the way of a message on a booted machine. The other machines are built by name:
      # nix build .#mollysocket.tests.reload
      checks = eachSystem (pkgs: {
        package = pkgs.mollysocket;
        inherit (pkgs.mollysocket.tests) wake credentials;
      });
    };
}
