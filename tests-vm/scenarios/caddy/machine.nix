{
  services.mollysocket = {
    enable = true;
    environmentFile = "/run/e2e/simulator.env";
    caddy = {
      enable = true;
      virtualHost = "molly.test";
      location = "/molly/";
    };
  };
  services.caddy.virtualHosts."molly.test".extraConfig = ''
    tls /run/e2e/tls.crt /run/e2e/tls.key
  '';
}
