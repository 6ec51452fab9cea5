{
  services.mollysocket = {
    enable = true;
    environmentFile = "/run/e2e/simulator.env";
    resources.memoryMax = "300M";
  };
}
