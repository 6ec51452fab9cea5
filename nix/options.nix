# The options of one daemon.
{ lib, format }:
let
  inherit (lib) mkOption types;
  option =
    type: default: description:
    mkOption { inherit type default description; };
  optional = type: option (types.nullOr type) null;
  withExample = example: o: o // { inherit example; };

  # A pattern's own words in an error message would be the pattern.
  matching = pattern: description: types.strMatching pattern // { inherit description; };
  endpoints = types.listOf (
    matching "[*]|[Hh][Tt][Tt][Pp][Ss]?://([^][[:space:]/?#,;*@]+@)?([[][0-9A-Fa-f:.]+[]]|[^][[:space:]/?#,;*@:]+)(:[0-9]{1,5})?([/?#][^[:space:],;]*)?" "push server such as \"https://ntfy.example.org\", or \"*\" for any"
  );
  uuids = types.listOf (
    matching "[*]|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{32}" "UUID of a Signal account, or \"*\" for any"
  );

  # Every key of the program's configuration file, with the program's own default; null leaves the key out.
  settings = {
    host = option types.str "127.0.0.1" "Listening address of the web server.";
    port = option types.port 8020 "Listening port of the web server.";
    webserver =
      option types.bool true
        "Whether there is a web server. Without one the QR code for phones is in the journal and accounts are added by `mollysocket connection add`.";
    allowed_endpoints = withExample [ "https://ntfy.example.org" ] (
      option endpoints [
        "*"
      ] "Push servers that may be used; `*` is any at a public address. Not the address of MollySocket."
    );
    allowed_uuids = option uuids [ "*" ] "Signal accounts that may register; `*` is any.";
    db = optional types.str "Database, in the state directory or `dataDir`. The program's default is `db.sqlite`, or `mollysocket.db` when only that is there.";
    vapid_key_file = optional types.str "File with the VAPID key, in the state directory or among the credentials; prefer `vapid.keyFile`.";
    vapid_contact = withExample "mailto:admin@example.org" (
      optional types.str "Whom push servers may contact. Default: `public_url`, else the project's page."
    );
    public_url = withExample "https://molly.example.org/" (
      optional types.str "How phones reach this server. Default: taken from each request."
    );
    signal_env = option (types.enum [
      "production"
      "staging"
      # As older versions wrote it.
      "Production"
      "Staging"
    ]) "production" "Which of Signal's services.";
    signal_url = optional types.str "Another chat server, for tests.";
    signal_ca_file = optional types.str "PEM file that replaces Signal's own roots, for tests.";
    user_agents = optional (types.listOf types.str) "What the program calls itself to Signal; the next is tried when Signal refuses one.";
    push_ca_file = optional types.str "PEM file trusted for push servers beside the system's certificates.";
    wake_for_own_sync = option types.bool false "Whether what the phone itself sent wakes it, too.";
    max_accounts = option types.ints.unsigned 10000 "New accounts beyond this many are refused.";
    trusted_proxies = option (types.listOf types.str) [
      "loopback"
    ] "Proxies whose forwarding headers count, for the limits of each client and the log.";
    metrics =
      option types.bool false
        "Whether the web server serves `/metrics` (Prometheus) to everybody.";
    admin_socket = optional types.str "Unix socket for status and metrics, in the runtime or the state directory. Default: `admin.sock` in the runtime directory.";
    alert_command =
      option (types.listOf types.str) [ ]
        "Program and arguments, run when an account needs attention and when it is well again; the account's state is on its standard input as JSON. It runs as the service, inside its sandbox.";
    heartbeat_url = optional types.str "Visited each minute while all is well. If its path is a secret, set `MOLLY_HEARTBEAT_URL` in one of `environmentFiles` instead.";
  };

  proxy = name: {
    enable = option types.bool false "Whether ${name} passes requests on to this daemon.";
    virtualHost = withExample "molly.example.org" (
      optional types.str "The virtual host of ${name} that phones reach. Its certificate is configured there."
    );
    location = withExample "/molly/" (
      option types.str "/" "The path below which phones reach this daemon."
    );
  };
in
{
  daemon = package: {
    inherit package;
    settings = mkOption {
      type = types.submodule {
        freeformType = format.type;
        options = settings;
      };
      default = { };
      description = "The program's configuration file, checked by the program itself when the system is built. Readable by everybody on this host: no secrets here.";
    };
    allowedUuids = withExample [ "0f2b1a3c-1111-4222-8333-444455556666" ] (
      optional uuids "Short for `settings.allowed_uuids`."
    );
    allowedEndpoints = withExample [ "https://ntfy.example.org" ] (
      optional endpoints "Short for `settings.allowed_endpoints`."
    );
    vapid = {
      keyFile = withExample "/run/secrets/mollysocket-vapid" (
        optional types.path "Plain file with the VAPID private key, outside of the Nix store. Only root need be able to read it. Without any of these three the service makes a key at its first start and keeps it beside the database."
      );
      encryptedKeyFile = withExample "/etc/mollysocket-vapid.cred" (
        optional types.path "The same, sealed by `systemd-creds encrypt --name=vapid.key`."
      );
      credential = withExample "mollysocket.vapid" (
        optional types.str "Name of a system credential with the key, as passed by a hypervisor, a container manager or the boot loader."
      );
    };
    environmentFiles = withExample [ "/run/secrets/mollysocket.env" ] (
      option (types.listOf types.path) [ ]
        "Files with more `MOLLY_…` variables, for secrets; they win over `settings`, and later files over earlier ones. See {manpage}`systemd.exec(5)`."
    );
    # The name in nixpkgs' module.
    environmentFile = optional types.path "One more of `environmentFiles`." // {
      visible = false;
    };
    dataDir = withExample "/mnt/disk/mollysocket" (
      optional types.path "Directory for database and key in place of `/var/lib/mollysocket`, for example on another disk. It is made if it is missing. The service then has a user that stays, of the same name as its unit; files that are moved here must belong to it."
    );
    logLevel = option types.str "info" "What is logged, as `RUST_LOG`.";
    openFirewall =
      option types.bool false
        "Whether to open `settings.port`. A reverse proxy on this host does not need it.";
    nginx = proxy "nginx";
    caddy = proxy "Caddy";
  };
}
