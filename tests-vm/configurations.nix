# Users' configurations, each evaluated as a whole NixOS system by ./offline/evaluate, and what is expected of it:
#
#   good WHAT CONFIG EXPECTED : no assertion fails, the system's derivation exists, and there is no warning but `warns`.
#     `unit`, `command`, `sudo`, `nginx`, `caddy`: regular expressions of which each has a match there, or with a ! before it
#     none; `settings`: keys of the configuration file; `units`, `users`, `firewall`: all there are.
#   wrong MESSAGE INSIDE : the system is refused, and MESSAGE is part of what is said (in `good`: `refused`).
#   unbuilt MESSAGE SETTINGS : it is evaluated, but the program itself refuses its configuration file when it is built.
#
# Of the module's own options only what is inside of `services.mollysocket` is written: molly { … } is a host with these.
{ lib, pkgs }:
let
  good =
    what: config: expected:
    expected // { inherit what config; };
  # In text, for a line each.
  host =
    inside:
    import (builtins.toFile "host.nix" "{ services.mollysocket = { enable = true; ${inside} }; }");
  wrong = refused: inside: {
    inherit refused;
    config = host inside;
    what = "refused: ${inside}";
  };
  unbuilt = message: settings: {
    unbuilt = message;
    config = host "settings = { ${settings} };";
    what = "not built: ${settings}";
  };
  molly = inside: {
    services.mollysocket = {
      enable = true;
    }
    // inside;
  };
  # A host whose unit a user changes.
  unit = changes: molly { } // { systemd.services.mollysocket = changes; };
  service = serviceConfig: unit { inherit serviceConfig; };
  at =
    name: version:
    molly {
      package = pkgs.hello.overrideAttrs {
        pname = name;
        inherit version;
        meta.mainProgram = "mollysocket";
      };
    };
  # Behind nginx, below a path of a host with these options.
  behind = host: {
    services.mollysocket = {
      enable = true;
      nginx = {
        enable = true;
        virtualHost = "cloud.example.org";
        location = "/molly/";
      };
    };
    services.nginx.virtualHosts."cloud.example.org" = host;
  };
  certificate = {
    sslCertificate = "/var/lib/cert.pem";
    sslCertificateKey = "/var/lib/key.pem";
  };
  caddy =
    location:
    {
      enable = true;
      virtualHost = "molly.example.org";
    }
    // lib.optionalAttrs (location != null) { inherit location; };
  on = platform: {
    what = "a host of ${builtins.toJSON platform}";
    config = molly { };
    inherit platform;
    system = platform.hostPlatform;
    units = [ "mollysocket" ];
  };

  # The examples of a page, in their order. What they take from sops-nix or agenix is declared here.
  examples =
    page:
    map (rest: lib.head (lib.splitString "```" rest)) (
      lib.tail (lib.splitString "```nix\n" (builtins.readFile page))
    );
  example = text: {
    imports = [ (import (builtins.toFile "example.nix" text)) ];
    options = lib.genAttrs [ "sops" "age" ] (_: {
      secrets = lib.mkOption {
        type = lib.types.attrsOf (
          lib.types.submodule (
            { name, ... }:
            {
              options.path = lib.mkOption { default = "/run/secrets/${name}"; };
            }
          )
        );
      };
    });
  };
  readme = examples ../README.md;
  nixos = examples ../docs/nixos.md;
  secret = "LoadCredential=vapid.key:/run/secrets/mollysocket-vapid\n";
  whole = {
    units = [ "mollysocket" ];
    unit = [ secret ];
    settings = {
      allowed_uuids = [ "0f2b1a3c-1111-4222-8333-444455556666" ];
      allowed_endpoints = [ "https://ntfy.example.org" ];
      public_url = "https://molly.example.org/";
    };
    nginx = [
      "server_name molly.example.org"
      "proxy_pass http://127.0.0.1:8020/;"
      "ssl_certificate /var/lib/acme/molly.example.org/"
    ];
    firewall = [
      80
      443
    ];
  };
in
[
  # The pages' own examples.
  (good "the README's three lines"
    (example "{ ${lib.last (lib.splitString "\n" (lib.trim (lib.head readme)))} }")
    {
      units = [ "mollysocket" ];
    }
  )
  (good "the README's whole example" (example (lib.elemAt readme 1)) whole)
  (good "the same with agenix" (example (
    builtins.replaceStrings [ "sops" ] [ "age" ] (lib.elemAt readme 1)
  )) whole)
  (good "the example of docs/scaling.md" (example (lib.head (examples ../docs/scaling.md))) {
    units = [
      "mollysocket-a"
      "mollysocket-b"
    ];
    nginx = [
      "server_name molly-a.example.org ;[^}]*}[^}]*proxy_pass http://127.0.0.1:8021/;"
      "server_name molly-b.example.org ;[^}]*}[^}]*proxy_pass http://127.0.0.1:8022/;"
    ];
    unit = [
      secret
      "StateDirectory=mollysocket-a\n"
      "MOLLY_CONF=/etc/mollysocket-a/config.toml"
    ];
  })
  (good "the limits of docs/nixos.md" {
    imports = [ (import (builtins.toFile "example.nix" "{ ${lib.head nixos} }")) ];
    services.mollysocket.enable = true;
  } { unit = [ "CPUQuota=50%\n(.*\n)*MemoryMax=512M\n" ]; })

  # One daemon.
  (good "nothing at all" { } {
    units = [ ];
    sudo = [ "!molly" ];
  })
  (good "nothing but enable" (molly { }) {
    units = [ "mollysocket" ];
    users = [ ];
    firewall = [ ];
    unit = [
      "Type=notify"
      "ExecStart=/nix/store/.*/bin/mollysocket server\n"
      "ExecReload=/nix/store/.*/bin/kill -HUP [$]MAINPID\n"
      "DynamicUser=true"
      "!LoadCredential"
      "!EnvironmentFile"
      "!MemoryMax"
    ];
    sudo = [ "%mollysocket-admin .* NOPASSWD: /nix/store/[^ ]*-mollysocket-as-service\n" ];
    command = [ "StateDirectory=mollysocket'" ];
  })
  (good "sudo-rs and another group"
    (molly { adminGroup = "family"; } // { security.sudo-rs.enable = true; })
    {
      sudo = [ "%family .* NOPASSWD: /nix/store/[^ ]*-mollysocket-as-service\n" ];
    }
  )
  (good "what nixpkgs' module takes"
    (molly {
      environmentFile = "/run/secrets/mollysocket";
      logLevel = "debug";
      settings = {
        allowed_endpoints = [ "https://ntfy.example.org" ];
        signal_env = "Production";
        environment = "prod";
      };
    })
    {
      unit = [
        "EnvironmentFile=/run/secrets/mollysocket\n"
        "RUST_LOG=debug"
      ];
      settings.signal_env = "Production";
    }
  )
  (good "files of variables, the old name, too"
    (molly {
      environmentFiles = [
        "/run/secrets/a"
        "/run/secrets/b"
      ];
      environmentFile = "/run/secrets/c";
    })
    {
      unit = [
        "EnvironmentFile=/run/secrets/a\nEnvironmentFile=/run/secrets/b\nEnvironmentFile=/run/secrets/c\n"
      ];
      command = [ "'EnvironmentFile=/run/secrets/a'(.*\n)*.*'EnvironmentFile=/run/secrets/c'" ];
    }
  )
  (good "a key in a file" (molly { vapid.keyFile = "/run/secrets/k"; }) {
    unit = [ "LoadCredential=vapid.key:/run/secrets/k\n" ];
    command = [ "'LoadCredential=vapid.key:/run/secrets/k'" ];
  })
  (good "a sealed key" (molly { vapid.encryptedKeyFile = "/etc/k.cred"; }) {
    unit = [ "LoadCredentialEncrypted=vapid.key:/etc/k.cred\n" ];
  })
  (good "a key of the hypervisor's" (molly { vapid.credential = "molly"; }) {
    unit = [ "LoadCredential=vapid.key:molly\n" ];
  })
  (good "allow lists by their short names, in every form"
    (molly {
      allowedUuids = [
        "0F2B1A3C-1111-4222-8333-444455556666"
        "0f2b1a3c111142228333444455556666"
      ];
      allowedEndpoints = [
        "https://ntfy.example.org"
        "https://ntfy.example.org:8443/up/"
        "http://192.0.2.1"
        "https://[2001:db8::1]:8080"
        "*"
      ];
    })
    {
      reloads = [
        "allowed_endpoints"
        "allowed_uuids"
      ];
    }
  )
  (good "a key that this module does not know" (molly { settings.made_up_later = 3; }) {
    settings.made_up_later = 3;
  })
  (good "addresses with an @ that is no password" (molly {
    settings = {
      heartbeat_url = "https://status.example/a@b";
      signal_url = "wss://chat.example/?a@b";
    };
  }) { })
  (good "an open port" (molly {
    openFirewall = true;
    settings.host = "0.0.0.0";
  }) { firewall = [ 8020 ]; })
  (good "an open port without a web server" (molly {
    openFirewall = true;
    settings.webserver = false;
  }) { firewall = [ ]; })
  (good "an open port where nobody listens" (molly { openFirewall = true; }) {
    warns = [ "openFirewall opens port 8020, but settings.host is 127.0.0.1" ];
  })

  # The package.
  (good "a package of no release" (at "mollysocket" "unstable-2026-01-01") { })
  (good "a fork's package" (at "mollysocket-fork" "fork-0.9") { })
  (good "a fork's package of an old number" (at "molly-fork" "0.9.0") { })
  (good "the reference by its tag" (at "mollysocket" "v1.7.1") {
    refused = "package is mollysocket v1.7.1, but this module needs 2.0 or later";
  })
  (good "a package without a version" (molly {
    package = pkgs.writeShellScriptBin "mollysocket" "";
  }) { })
  (good "nixpkgs' own package" (at "mollysocket" "1.7.1") {
    refused = "package is mollysocket 1.7.1, but this module needs 2.0 or later";
  })
  (good "a host without a certificate" (behind { addSSL = true; }) {
    refused = "the virtual host cloud.example.org has no certificate";
  })
  (on { hostPlatform = "aarch64-linux"; })
  (on { hostPlatform = "armv7l-linux"; })
  (on { hostPlatform = "riscv64-linux"; })
  (on {
    buildPlatform = "x86_64-linux";
    hostPlatform = "aarch64-linux";
  })
  (on {
    buildPlatform = "x86_64-linux";
    hostPlatform = "riscv64-linux";
  })

  # Users' changes of the unit.
  (good "another log level by the unit" (unit { environment.RUST_LOG = "trace"; }) {
    unit = [
      "RUST_LOG=trace"
      "!RUST_LOG=info"
    ];
  })
  (good "fewer system calls" (service { SystemCallFilter = [ "~@chown" ]; }) {
    unit = [
      "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\nSystemCallFilter=~@chown\n"
    ];
  })
  (good "more system calls" (service { SystemCallFilter = "@resources"; }) {
    unit = [
      "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\nSystemCallFilter=@resources\n"
    ];
  })
  (good "a capability" (service { CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" ]; }) {
    unit = [ "CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" ];
  })
  (good "another sandbox"
    (service {
      ProtectHome = "read-only";
      PrivateUsers = false;
      Restart = "always";
    })
    {
      unit = [
        "PrivateUsers=false\n"
        "ProtectHome=read-only\n"
        "Restart=always\n"
        "!Restart=on-failure"
      ];
      command = [ "'ProtectHome=read-only'" ];
    }
  )
  (good "a low port with the right to it" (lib.recursiveUpdate (molly { settings.port = 443; })
    (service {
      PrivateUsers = false;
    })
  ) { })
  (good "a low port that anybody may have" (
    molly { settings.port = 443; }
    // {
      boot.kernel.sysctl."net.ipv4.ip_unprivileged_port_start" = 443;
    }
  ) { })

  # The database elsewhere.
  (good "a directory on another disk" (molly { dataDir = "/mnt/disk/molly"; }) {
    users = [ "mollysocket" ];
    unit = [
      "RequiresMountsFor=/mnt/disk/molly\n"
      "ReadWritePaths=/mnt/disk/molly\n"
      "WorkingDirectory=/mnt/disk/molly\n"
      "!DynamicUser=true"
    ];
    command = [ "'WorkingDirectory=/mnt/disk/molly'" ];
  })
  (good "a database in it" (molly {
    dataDir = "/mnt/disk/molly";
    settings.db = "/mnt/disk/molly/m.db";
  }) { })
  (good "a database where the unit may write" (lib.recursiveUpdate
    (molly { settings.db = "/srv/molly/m.db"; })
    (service {
      ReadWritePaths = [ "-/srv/molly" ];
    })
  ) { command = [ "'ReadWritePaths=-/srv/molly'" ]; })
  (good "a database on what is mounted for the unit" (lib.recursiveUpdate
    (molly { settings.db = "/data/m.db"; })
    (service {
      BindPaths = [ "/mnt/disk:/data:rbind" ];
    })
  ) { })
  (good "a database anywhere" (lib.recursiveUpdate (molly { settings.db = "/srv/m.db"; }) (service {
    ProtectSystem = "full";
  })) { })
  (good "a database where several words allow it" (lib.recursiveUpdate
    (molly { settings.db = "/srv/m/m.db"; })
    (service {
      ReadWritePaths = "/srv/x /srv/m";
    })
  ) { })
  (good "a database in another state directory" (lib.recursiveUpdate
    (molly { settings.db = "/var/lib/other/m.db"; })
    (service {
      StateDirectory = "mollysocket other";
    })
  ) { })
  (good "a database in a home that the unit sees" (lib.recursiveUpdate
    (molly { dataDir = "/home/molly"; })
    (service {
      ProtectHome = false;
    })
  ) { })
  (good "a user of one's own" (lib.recursiveUpdate (molly { dataDir = "/srv/m"; }) {
    users.users.mollysocket.group = "users";
  }) { })
  (good "words about the unit"
    (unit {
      description = "Molly";
      unitConfig.StartLimitIntervalSec = 10;
    })
    {
      unit = [
        "Description=Molly\n"
        "StartLimitIntervalSec=10\n"
      ];
    }
  )
  (good "a host that has forceSSL off by default" (behind { forceSSL = lib.mkDefault false; }) { })
  (good "names in the state directory" (molly {
    settings = {
      db = "m..db";
      admin_socket = "/run/mollysocket/a.sock";
      vapid_key_file = "/run/credentials/mollysocket.service/k";
    };
  }) { })

  # Web servers in front.
  (good "below a path of a host with TLS" (behind (certificate // { forceSSL = true; })) {
    nginx = [
      "location /molly/ [{][^}]*proxy_pass http://127.0.0.1:8020/;[^}]*X-Original-URL [$]request_uri;"
      "location = /molly [{][^}]*proxy_pass http://127.0.0.1:8020/;[^}]*X-Original-URL [$]request_uri;"
      "location /molly/ [{][^}]*X-Forwarded-For [$]proxy_add_x_forwarded_for;[^}]*X-Forwarded-Host [$]http_host;[^}]*X-Forwarded-Prefix \"\";[^}]*Forwarded \"\";"
      "return 301 https://"
    ];
  })
  (good "below a path of a host with TLS beside" (behind (certificate // { addSSL = true; })) {
    nginx = [
      "location /molly/ "
      "!return 301"
    ];
  })
  (good "below a path of a host with nothing but TLS" (behind (certificate // { onlySSL = true; })) {
    nginx = [
      "location /molly/ "
      "!return 301"
    ];
  })
  (good "below a path of a host without TLS" (behind { forceSSL = false; }) {
    nginx = [
      "location /molly/ "
      "!listen [^;]* ssl"
    ];
  })
  (good "below a path of a host with the certificate alone" (behind certificate) {
    nginx = [ "return 301 https://" ];
  })
  (good "a host of its own in nginx, with recommended settings"
    (lib.recursiveUpdate (behind certificate) {
      services.mollysocket.nginx.location = "/";
      services.nginx.recommendedProxySettings = true;
    })
    {
      nginx = [
        "location / [{][^}]*proxy_pass"
        "!location = "
      ];
    }
  )
  (good "Caddy below a path" (molly { caddy = caddy "/molly"; }) {
    caddy = [
      "path /molly/[*] /molly\n(.*\n)*  uri strip_prefix /molly\n  reverse_proxy 127.0.0.1:8020 "
      "header_up -Forwarded\n +header_up -X-Forwarded-Prefix\n"
    ];
  })
  (good "Caddy and a daemon that listens everywhere"
    (molly {
      caddy = caddy null;
      settings.host = "::";
    })
    {
      caddy = [
        "reverse_proxy \\[::1\\]:8020 "
        "!strip_prefix"
      ];
    }
  )
  # The daemon at / would take what is for the others.
  (good "three daemons behind one host of Caddy"
    (molly {
      caddy = caddy null;
      instances.a = {
        settings.port = 8021;
        caddy = caddy "/molly";
      };
      instances.b = {
        settings.port = 8022;
        caddy = caddy "/molly/b/";
      };
    })
    {
      caddy = [ "path /molly/b/[*] /molly/b\n(.*\n)*.*path /molly/[*] /molly\n(.*\n)*.*path /[*] \n" ];
    }
  )

  # More daemons.
  (good "instances"
    {
      services.mollysocket.instances = {
        home = {
          settings = {
            host = "::";
            port = 8021;
          };
          openFirewall = true;
        };
        work.settings.port = 8022;
        off.enable = false;
      };
    }
    {
      units = [
        "mollysocket-home"
        "mollysocket-work"
      ];
      firewall = [ 8021 ];
      unit = [
        "StateDirectory=mollysocket-home\n"
        "MOLLY_CONF=/etc/mollysocket-home/config.toml"
      ];
      sudo = [
        "mollysocket-home-as-service"
        "mollysocket-work-as-service"
        "!mollysocket-off"
      ];
    }
  )

  # Values that are wrong in themselves.
  (wrong "settings.port' is not of type `16 bit unsigned integer" "settings.port = 65536;")
  (wrong "settings.port' is not of type `16 bit unsigned integer" ''settings.port = "8020";'')
  (wrong "settings.signal_env' is not of type" ''settings.signal_env = "prod";'')
  (wrong "settings.max_accounts' is not of type" "settings.max_accounts = -1;")
  (wrong "vapid.keyFile' is not of type" ''vapid.keyFile = "relative";'')
  (wrong "The option `services.mollysocket.enabled' does not exist" "enabled = true;")
  (wrong "UUID of a Signal account, or" ''allowedUuids = [ "0f2b1a3c-1111-4222-8333-44445555666" ];'')
  (wrong "UUID of a Signal account, or" ''settings.allowed_uuids = [ "me" ];'')
  (wrong "push server such as" ''allowedEndpoints = [ "ntfy.example.org" ];'')
  (wrong "push server such as" ''allowedEndpoints = [ "https://[::1" ];'')
  (wrong "push server such as" ''allowedEndpoints = [ "https://a.example:123456" ];'')
  (wrong "UUID of a Signal account, or" ''allowedUuids = [ "0f2b1a3c-11114222-8333-444455556666" ];'')
  (wrong "push server such as" ''settings.allowed_endpoints = [ "https://*.example.org" ];'')

  # Secrets that everybody could read.
  (wrong "more than one source of the key" ''vapid = { keyFile = "/a"; encryptedKeyFile = "/b"; };'')
  (wrong "more than one source of the key" ''vapid = { keyFile = "/a"; credential = "b"; };'')
  (wrong "more than one source of the key" ''vapid.keyFile = "/a"; settings.vapid_key_file = "/b";'')
  (wrong "everybody on this host could read the key" ''settings.vapid_privkey = "x";'')
  (wrong "could read the password" ''allowedEndpoints = [ "*" "https://me:pw@ntfy.example/x" ];'')
  (wrong "MOLLY_HEARTBEAT_URL" ''settings.heartbeat_url = "https://me:pw@status.example/x";'')
  (wrong "MOLLY_SIGNAL_URL" ''settings.signal_url = "wss://me:pw@chat.example/";'')
  (wrong "is in the Nix store" ''vapid.keyFile = "/nix/store/x";'')
  (wrong "is in the Nix store" "vapid.encryptedKeyFile = ./key;")
  (wrong "is in the Nix store" ''environmentFile = "/nix/store/x";'')
  (wrong "is in the Nix store" ''environmentFiles = [ "/run/a" "/nix/store/x" ];'')

  # What the service could not do.
  (wrong "no right to ports below 1024" "settings.port = 443;")
  (wrong "settings.db: the service can write only" ''settings.db = "/srv/m.db";'')
  (wrong "settings.db: the service can write only" ''settings.db = "/var/lib/mollysocket-a/m.db";'')
  (wrong "settings.db: the service can write only" ''settings.db = "../m.db";'')
  (wrong "settings.db: the service can write only" ''dataDir = "/srv/a"; settings.db = "/srv/ab/m.db";'')
  (wrong "settings.admin_socket: the service can write only" ''settings.admin_socket = "/run/m.sock";'')
  (wrong "set vapid.keyFile instead" ''settings.vapid_key_file = "/etc/k";'')
  (wrong "vapid.credential is the name of a credential" ''vapid.credential = "/run/secrets/k";'')
  (wrong "dataDir must be the absolute path" ''dataDir = "/mnt/my disk";'')
  (wrong "dataDir must be the absolute path" ''dataDir = "/mnt/../nix/store/x";'')
  (wrong "dataDir must be the absolute path" ''dataDir = "/var/lib/mollysocket";'')
  (wrong "sees neither home directories" ''dataDir = "/home/molly";'')
  (wrong "sees neither home directories" ''dataDir = "/tmp/molly/";'')
  (wrong "one is inside of the other" ''dataDir = "/srv/m"; instances.a = { settings.port = 8021; dataDir = "/srv/m/a/"; };'')
  (wrong "one is inside of the other" ''dataDir = "/srv/m"; instances.a = { settings.port = 8021; dataDir = "/srv/m/"; };'')

  # What phones could not reach.
  (wrong "must begin with https://" ''settings.public_url = "http://molly.example/";'')
  (wrong "phones send no user or password" ''settings.public_url = "https://me:pw@molly.example/";'')
  (wrong "nginx.virtualHost: say which" "nginx.enable = true;")
  (wrong "caddy.virtualHost: say which" "caddy.enable = true;")
  (wrong "the virtual host m has no certificate" ''nginx = { enable = true; virtualHost = "m"; };'')
  (wrong "nginx.location must begin with /" ''nginx = { enable = true; virtualHost = "m"; location = "molly/"; };'')
  (wrong "nginx.location must begin with /" ''nginx = { enable = true; virtualHost = "m"; location = "/a { }"; };'')
  (wrong "caddy.location must begin with /" ''caddy = { enable = true; virtualHost = "m"; location = ""; };'')
  (wrong "nothing to pass requests to" ''caddy = { enable = true; virtualHost = "m"; }; settings.webserver = false;'')

  # Two that are in each other's way.
  (wrong "set allowedUuids or settings.allowed_uuids, not both" ''allowedUuids = [ "*" ]; settings.allowed_uuids = [ ];'')
  (wrong "set allowedEndpoints or settings" ''allowedEndpoints = [ "*" ]; settings.allowed_endpoints = [ ];'')
  (wrong "the same settings.port (8020 8020)" "instances.a = { };")
  (wrong "at the same place of a virtual host" ''
    caddy = { enable = true; virtualHost = "m"; location = "/molly"; };
    instances.a = { settings.port = 8021; caddy = { enable = true; virtualHost = "m"; location = "/molly/"; }; };
  '')
  (wrong "have the same name, mollysocket-admin" "instances.admin.settings.port = 8021;")
  (wrong "small letters, digits and hyphens" ''instances."A b".settings.port = 8021;'')
  (wrong "at most 19" "instances.this-name-is-far-too-long.settings.port = 8021;")
  (wrong "instances.a.vapid: there is more" ''instances.a = { settings.port = 8021; vapid = { keyFile = "/a"; credential = "b"; }; };'')

  # Mistakes that the program tells.
  (unbuilt "allowed_uuid: there is no such key; did you mean allowed_uuids?" ''allowed_uuid = [ "*" ];'')
  (unbuilt "public_url: is not a URL; write it like https://molly.example.org/" ''public_url = "https://";'')
  (unbuilt "trusted_proxies: entry 1 must be an address" ''trusted_proxies = [ "proxy" ];'')
  (unbuilt "vapid_contact: must be like mailto:me@example.org" ''vapid_contact = "me";'')
]
