{
  services.mollysocket = {
    enable = true;
    environmentFile = "/run/e2e/simulator.env";
    allowedUuids = [ "0f2b1a3c-1111-4222-8333-444455556666" ];
  };
}
