# What is wrong with one daemon's configuration, in words, where no type and not the program itself can tell.
{ config, lib }:
let
  inherit (builtins)
    any
    filter
    isPath
    length
    match
    storeDir
    ;
  inStore = path: path != null && (isPath path || lib.hasPrefix storeDir (toString path));
  # Whether the address names a user or a password.
  hasLogin = url: url != null && match "[^/]*://[^/?#]*@.*" url != null;
  isLocation = location: match "/([A-Za-z0-9._~-]+/)*[A-Za-z0-9._~-]*" location != null;
  # Whether it is in one of the directories; a relative path is in the working directory.
  isBelow =
    directories: path:
    path == null
    ||
      match "(.*/)?[.][.](/.*)?" path == null
      && (
        !lib.hasPrefix "/" path
        || any (directory: lib.hasPrefix "${lib.removeSuffix "/" directory}/" path) directories
      );
  lowestPort = config.boot.kernel.sysctl."net.ipv4.ip_unprivileged_port_start" or null;
in
{
  unit,
  option,
  cfg,
  settings,
}:
let
  # The unit with what the user set in it.
  service = config.systemd.services.${unit}.serviceConfig;
  # A directive's words: a string may hold several, and one in quotes may hold spaces.
  words =
    text:
    if lib.hasPrefix "\"" text then
      [ (lib.replaceStrings [ "\"" ] [ "" ] text) ]
    else
      filter (word: word != "") (lib.splitString " " text);
  given = name: lib.concatMap words (map toString (lib.toList (service.${name} or [ ])));
  # A path may have a prefix, and one that is mounted has its place after a colon.
  paths = name: map (path: lib.removePrefix "+" (lib.removePrefix "-" path)) (given name);
  mounted = path: lib.last (lib.take 2 (lib.splitString ":" path));
  below = name: base: map (path: "${base}/${lib.head (lib.splitString ":" path)}") (given name);
  state = [
    "/var/lib/${unit}"
    "/var/lib/private/${unit}"
  ];
  writable =
    state
    ++ paths "ReadWritePaths"
    ++ map mounted (paths "BindPaths")
    ++ below "RuntimeDirectory" "/run"
    ++ below "StateDirectory" "/var/lib"
    ++ below "CacheDirectory" "/var/cache"
    ++ below "LogsDirectory" "/var/log";
  # What the unit shows empty, whatever else it allows.
  hidden =
    path:
    path != null
    && lib.hasPrefix "/" path
    && (
      service.ProtectHome or false == true && isBelow [ "/home" "/root" "/run/user" ] path
      || service.PrivateTmp or false == true && isBelow [ "/tmp" "/var/tmp" ] path
    );
  reachable =
    path: !hidden path && (service.ProtectSystem or null != "strict" || isBelow writable path);
  sources = filter (source: source != null) [
    cfg.vapid.keyFile
    cfg.vapid.encryptedKeyFile
    cfg.vapid.credential
    (settings.vapid_key_file or null)
  ];
  files = [
    cfg.vapid.keyFile
    cfg.vapid.encryptedKeyFile
    (settings.vapid_key_file or null)
  ]
  ++ cfg.environmentFiles
  ++ [ cfg.environmentFile ];
  host = config.services.nginx.virtualHosts.${cfg.nginx.virtualHost};
  nginxNamed = cfg.nginx.enable && cfg.nginx.virtualHost != null;
  isSet = value: (builtins.tryEval value).success;
  hasCertificate =
    host.enableACME
    || host.useACMEHost != null
    || isSet host.sslCertificate && isSet host.sslCertificateKey;

  check = assertion: message: {
    inherit assertion;
    message = "${option}${message}";
  };
in
[
  (check (length sources <= 1)
    ".vapid: there is more than one source of the key; set one of keyFile, encryptedKeyFile, credential and settings.vapid_key_file."
  )
  (check (!(settings ? vapid_privkey))
    ".settings.vapid_privkey: everybody on this host could read the key in the Nix store; use vapid.keyFile or vapid.encryptedKeyFile."
  )
  (check (!any hasLogin settings.allowed_endpoints)
    ".settings.allowed_endpoints: everybody on this host could read the password in the Nix store; put the list into a file of environmentFiles as MOLLY_ALLOWED_ENDPOINTS."
  )
  (check (!any inStore files)
    ": a file with a secret is in the Nix store, where everybody on this host can read it; give its path as a string outside of ${storeDir}."
  )
  (check (!hasLogin (settings.heartbeat_url or null))
    ".settings.heartbeat_url: everybody on this host could read the password in the Nix store; put the address into a file of environmentFiles as MOLLY_HEARTBEAT_URL."
  )
  (check (!hasLogin (settings.signal_url or null))
    ".settings.signal_url: everybody on this host could read the password in the Nix store; put the address into a file of environmentFiles as MOLLY_SIGNAL_URL."
  )
  (check (!hasLogin (settings.public_url or null))
    ".settings.public_url: phones send no user or password, and everybody could read them; leave them out."
  )
  (check (cfg.vapid.credential == null || match "[A-Za-z0-9._-]+" cfg.vapid.credential != null)
    ".vapid.credential is the name of a credential, of letters, digits and ._-, not a path; for a file set vapid.keyFile."
  )
  (check
    (isBelow (
      state
      ++ [ "/run/credentials" ]
      ++ paths "ReadWritePaths"
      ++ map mounted (paths "BindPaths" ++ paths "BindReadOnlyPaths")
    ) (settings.vapid_key_file or null))
    ".settings.vapid_key_file: the service cannot read this file; set vapid.keyFile instead, which passes it on."
  )
  (check (reachable (settings.db or null))
    ".settings.db: the service can write only below /var/lib/${unit}; set dataDir to the directory of the database, or leave the directory out."
  )
  (check (reachable (
    settings.admin_socket or null
  )) ".settings.admin_socket: the service can write only below /run/${unit} and /var/lib/${unit}.")
  (check
    (
      cfg.dataDir == null
      ||
        match "(/[A-Za-z0-9._+@-]+)+/?" (toString cfg.dataDir) != null
        && match ".*/[.][.]?(/.*)?" (toString cfg.dataDir) == null
        && !inStore cfg.dataDir
        && !isBelow state "${toString cfg.dataDir}/x"
    )
    ".dataDir must be the absolute path of a directory, of letters, digits and ._+@-, outside of the Nix store and of /var/lib/${unit}, where the state is without this option."
  )
  (check (!hidden "${toString cfg.dataDir}/x")
    ".dataDir: the service sees neither home directories nor the host's /tmp; choose another place, or set ProtectHome or PrivateTmp of its unit to false."
  )
  (check
    (
      settings.port >= 1024
      || service.PrivateUsers or true == false
      || (lowestPort != null && lib.toInt (toString lowestPort) <= settings.port)
    )
    ".settings.port: the service has no right to ports below 1024; keep the default and put nginx or caddy in front of it."
  )
  (check (
    !(settings ? public_url) || lib.hasPrefix "https://" settings.public_url
  ) ".settings.public_url must begin with https://, because phones accept nothing else.")
  (check (
    cfg.allowedUuids == null || cfg.settings.allowed_uuids == [ "*" ]
  ) ": set allowedUuids or settings.allowed_uuids, not both.")
  (check (
    cfg.allowedEndpoints == null || cfg.settings.allowed_endpoints == [ "*" ]
  ) ": set allowedEndpoints or settings.allowed_endpoints, not both.")
  (check (
    settings.webserver || !(cfg.nginx.enable || cfg.caddy.enable)
  ) ": a reverse proxy has nothing to pass requests to while settings.webserver is false.")
  (check (
    !cfg.nginx.enable || cfg.nginx.virtualHost != null
  ) ".nginx.virtualHost: say which virtual host phones reach, for example \"molly.example.org\".")
  (check (
    !cfg.caddy.enable || cfg.caddy.virtualHost != null
  ) ".caddy.virtualHost: say which virtual host phones reach, for example \"molly.example.org\".")
  (check (isLocation cfg.nginx.location) ".nginx.location must begin with / and hold letters, digits and ._~- between single slashes, for example \"/molly/\".")
  (check (isLocation cfg.caddy.location) ".caddy.location must begin with / and hold letters, digits and ._~- between single slashes, for example \"/molly/\".")
  (check (!nginxNamed || !(host.forceSSL || host.addSSL || host.onlySSL) || hasCertificate)
    ".nginx: the virtual host ${toString cfg.nginx.virtualHost} has no certificate. In services.nginx.virtualHosts.\"${toString cfg.nginx.virtualHost}\" set enableACME, useACMEHost or both sslCertificate and sslCertificateKey, or forceSSL = false where another proxy speaks https to phones."
  )
  (check (!nginxNamed || !host.rejectSSL)
    ".nginx: the virtual host ${toString cfg.nginx.virtualHost} has rejectSSL, and phones speak nothing but https."
  )
  # nixpkgs' own package is the reference, which never tells that it is ready. A fork's versions are its own affair.
  (check
    (
      lib.getName cfg.package != "mollysocket"
      || match "v?(0[.][0-9].*|1[.].*)" (cfg.package.version or "") == null
    )
    ".package is mollysocket ${cfg.package.version or ""}, but this module needs 2.0 or later: leave the option out, or set it to the flake's package."
  )
  (check (
    match "[a-z0-9-]{1,31}" unit != null
  ) ": the name of an instance has at most 19 small letters, digits and hyphens.")
]
