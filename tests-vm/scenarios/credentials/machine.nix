{
  services.mollysocket = {
    enable = true;
    environmentFile = "/run/e2e/simulator.env";
    instances.plain = {
      environmentFile = "/run/e2e/simulator.env";
      settings.port = 8021;
      vapid.keyFile = "/var/lib/e2e/vapid.key";
    };
    instances.sealed = {
      environmentFile = "/run/e2e/simulator.env";
      settings.port = 8022;
      vapid.encryptedKeyFile = "/var/lib/e2e/vapid.cred";
    };
    instances.named = {
      environmentFile = "/run/e2e/simulator.env";
      settings.port = 8023;
      vapid.credential = "mollysocket.vapid";
    };
  };
}
