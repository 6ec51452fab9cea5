{
  services.mollysocket.instances = {
    home = {
      environmentFile = "/run/e2e/simulator.env";
      settings.port = 8021;
    };
    work = {
      environmentFile = "/run/e2e/simulator.env";
      settings.port = 8022;
      allowedUuids = [ "9e8d7c6b-aaaa-4bbb-8ccc-ddddeeeeffff" ];
    };
  };
}
