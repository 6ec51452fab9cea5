{
  services.mollysocket = {
    enable = true;
    environmentFile = "/run/e2e/simulator.env";
    settings.metrics = true;
  };
}
