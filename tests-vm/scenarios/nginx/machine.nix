{
  services.mollysocket = {
    enable = true;
    environmentFile = "/run/e2e/simulator.env";
    nginx = {
      enable = true;
      virtualHost = "molly.test";
      location = "/molly/";
    };
  };
  services.nginx.virtualHosts."molly.test" = {
    sslCertificate = "/run/e2e/tls.crt";
    sslCertificateKey = "/run/e2e/tls.key";
  };
}
