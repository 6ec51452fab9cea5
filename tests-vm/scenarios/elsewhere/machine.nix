{
  services.mollysocket = {
    enable = true;
    environmentFiles = [ "/run/e2e/simulator.env" ];
    dataDir = "/srv/molly";
  };
}
