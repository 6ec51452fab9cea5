# [Service] of one daemon. The unit for other systems is made from this, too.
#
# What a user sets in `systemd.services.<name>.serviceConfig` counts beside it: a single value of theirs replaces ours, and
# theirs are added after ours in a list, so that they can neither empty it nor turn what is allowed into what is denied.
# `lib.mkForce` replaces a list.
{ lib }:
{
  unit,
  dataDir,
  start,
  reload,
}:
let
  overridable = lib.mapAttrs (
    _: value: if builtins.isList value then lib.mkBefore value else lib.mkDefault value
  );
in
overridable (
  {
    ExecStart = start;
    # Reads the allow lists again; accounts and connections stay as they are.
    ExecReload = reload;
    # The program reports READY, a status line, and signs of life that pass through its scheduler.
    Type = "notify";
    WatchdogSec = 30;
    Restart = "on-failure";
    # A mistake in the configuration does not go away by itself.
    RestartPreventExitStatus = 2;
    # Ever slower up to once a minute; systemd before 254 stays at the first.
    RestartSec = 1;
    RestartSteps = 5;
    RestartMaxDelaySec = 60;
    # The program ends within 5 s, whatever hangs.
    TimeoutStopSec = 15;

    # One socket for each account and one for each push.
    LimitNOFILE = 65536;
    # A handful of threads is all there is.
    TasksMax = 64;

    User = unit;
    RuntimeDirectory = unit;
    RuntimeDirectoryMode = "0700";
    UMask = "0077";

    # No right of root at all, also not by files that would grant one. An empty list would render no line.
    CapabilityBoundingSet = [ "" ];
    AmbientCapabilities = [ "" ];
    NoNewPrivileges = true;
    # Its files are a database and a socket; none is a program.
    RestrictSUIDSGID = true;
    # Its own users: even root outside of it means nobody inside. This is why low ports are out of reach.
    PrivateUsers = true;

    # The file system is read-only but for state and runtime directory.
    ProtectSystem = "strict";
    ProtectHome = true;
    PrivateTmp = true;
    PrivateMounts = true;
    # It shares no memory or queues with others, and leaves none behind.
    PrivateIPC = true;
    RemoveIPC = true;

    # No devices, but null, zero, random and the like.
    PrivateDevices = true;
    DevicePolicy = "closed";
    DeviceAllow = [ "" ];

    # Nothing of the kernel's or of other processes' affairs.
    ProcSubset = "pid";
    ProtectProc = "invisible";
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    # Keys are files here, never the kernel's, and there are no programs of other ABIs.
    KeyringMode = "private";
    LockPersonality = true;
    # Nothing is compiled at run time.
    MemoryDenyWriteExecute = true;
    RestrictNamespaces = true;
    # Realtime priority could starve the host.
    RestrictRealtime = true;

    # AF_UNIX: the service manager, the journal and the host's name service daemon.
    RestrictAddressFamilies = [
      "AF_INET"
      "AF_INET6"
      "AF_UNIX"
    ];
    # Behind the program's own guard. Cloud metadata services are at link-local addresses. The host's name service daemon
    # looks names up, so a link-local resolver does no harm.
    IPAddressDeny = [
      "link-local"
      "multicast"
    ];
    SystemCallArchitectures = "native";
    SystemCallErrorNumber = "EPERM";
    # What services need, without what only root may do and without changing limits and priorities.
    SystemCallFilter = [
      "@system-service"
      "~@privileged @resources"
    ];
  }
  // (
    if dataDir == null then
      {
        # A user that exists only while it runs; the state is moved to /var/lib/private and stays reachable as before.
        DynamicUser = true;
        StateDirectory = unit;
        StateDirectoryMode = "0700";
        WorkingDirectory = "/var/lib/${unit}";
      }
    else
      {
        # Files outside of a state directory need an owner that stays the same.
        Group = unit;
        ReadWritePaths = [ dataDir ];
        WorkingDirectory = dataDir;
      }
  )
)
