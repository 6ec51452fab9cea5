{
  services.mollysocket = {
    enable = true;
    environmentFile = "/run/e2e/simulator.env";
  };
  # What a user sets counts beside what the module sets.
  systemd.services.mollysocket.serviceConfig.MemoryMax = "300M";
}
