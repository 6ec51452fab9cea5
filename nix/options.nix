# The options of one daemon.
{ lib, format }:
let
  inherit (lib) mkOption types;
  option = type: default: description: mkOption { inherit type default description; };
  optional = type: description: option (types.nullOr type) null description;
  with_example = example: o: o // { inherit example; };

  # Every key of the program's configuration file, with the program's own default; null leaves the key out.
  settings = {
    host = option types.str "127.0.0.1" "Listening address of the web server.";
    port = option types.port 8020 "Listening port of the web server.";
    webserver = option types.bool true "Whether there is a web server. Without one the QR code for phones is in the journal and accounts are added by `mollysocket connection add`.";
    allowed_endpoints = with_example [ "https://ntfy.example.org" ] (
      option (types.listOf types.str) [ "*" ] "Push servers that may be used; `*` is any at a public address. Not the address of MollySocket."
    );
    allowed_uuids = option (types.listOf types.str) [ "*" ] "Signal accounts that may register; `*` is any.";
    db = optional types.str "Database, in the state directory. The program's default is `db.sqlite`, or `mollysocket.db` when only that is there.";
    vapid_key_file = optional types.str "File with the VAPID key, in the state directory or among the credentials; prefer `vapid.keyFile`.";
    vapid_contact = with_example "mailto:admin@example.org" (
      optional types.str "Whom push servers may contact. Default: `public_url`, else the project's page."
    );
    public_url = with_example "https://molly.example.org/" (
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
    trusted_proxies = option (types.listOf types.str) [ "loopback" ] "Proxies whose forwarding headers count, for the limits of each client and the log.";
    metrics = option types.bool false "Whether the web server serves `/metrics` (Prometheus) to everybody.";
    admin_socket = optional types.str "Unix socket for status and metrics, in the runtime or the state directory. Default: `admin.sock` in the runtime directory.";
    alert_command = option (types.listOf types.str) [ ] "Program and arguments, run when an account needs attention and when it is well again; the account's state is on its standard input as JSON. It runs as the service, inside its sandbox.";
    heartbeat_url = optional types.str "Visited each minute while all is well. If its path is a secret, set `MOLLY_HEARTBEAT_URL` in `environmentFile` instead.";
  };

  proxy = name: {
    enable = option types.bool false "Whether ${name} passes requests on to this daemon.";
    virtualHost = with_example "molly.example.org" (
      optional types.str "The virtual host of ${name} that phones reach. Its certificate is configured there."
    );
    location = with_example "/molly/" (option types.str "/" "The path below which phones reach this daemon.");
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
      description = "The program's configuration file. Readable by everybody on this host: no secrets here.";
    };
    allowedUuids = with_example [ "0f2b1a3c-1111-4222-8333-444455556666" ] (
      optional (types.listOf types.str) "Short for `settings.allowed_uuids`."
    );
    allowedEndpoints = with_example [ "https://ntfy.example.org" ] (
      optional (types.listOf types.str) "Short for `settings.allowed_endpoints`."
    );
    vapid = {
      keyFile = with_example "/run/secrets/mollysocket-vapid" (
        optional types.path "Plain file with the VAPID private key, outside of the Nix store. Only root need be able to read it. Without any of these three the service makes a key at its first start and keeps it beside the database."
      );
      encryptedKeyFile = with_example "/etc/mollysocket-vapid.cred" (
        optional types.path "The same, sealed by `systemd-creds encrypt --name=vapid.key`."
      );
      credential = with_example "mollysocket.vapid" (
        optional types.str "Name of a system credential with the key, as passed by a hypervisor, a container manager or the boot loader."
      );
    };
    environmentFile = optional types.path "File with more `MOLLY_…` variables, for secrets; they win over `settings`. See EnvironmentFile= in systemd.exec(5).";
    logLevel = option types.str "info" "What is logged, as `RUST_LOG`.";
    openFirewall = option types.bool false "Whether to open `settings.port`. A reverse proxy on this host does not need it.";
    nginx = proxy "nginx";
    caddy = proxy "Caddy";
    resources = {
      memoryHigh = with_example "256M" (optional types.str "From here on the kernel slows the service down.");
      memoryMax = with_example "512M" (optional types.str "Beyond this the kernel ends the service, and it starts again.");
      cpuQuota = with_example "50%" (optional types.str "Share of one processor.");
    };
    blockedAddresses = option (types.listOf types.str) [
      "link-local"
      "multicast"
    ] "Addresses the kernel keeps the service from, behind the program's own guard: cloud metadata services are at link-local ones. The host's name service daemon looks names up, so a link-local resolver does no harm.";
  };
}
