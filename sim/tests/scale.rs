//! Many connections at once.

mod support;

use sim::signal::Envelope;
use smol::block_on;
use support::*;

const DEVICES: usize = 200;

fn aci(n: usize) -> String {
    format!("11111111-2222-4333-8444-{n:012}")
}

#[test]
fn two_hundred_devices_each_get_their_own_messages() {
    let (pki, server) = server();
    for n in 0..DEVICES {
        server.add_device(&aci(n), 2, PASSWORD);
    }
    block_on(async {
        let executor = smol::LocalExecutor::new();
        let mut tasks = Vec::new();
        for n in 0..DEVICES {
            let (pki, server) = (&pki, &server);
            tasks.push(executor.spawn(async move {
                let auth = format!("Authorization: {}", basic(&format!("{}.2", aci(n)), PASSWORD));
                let mut client = Client::connect_with(pki, server, &[auth]).await;
                client.queue_empty().await;
                let guid = server.send(&aci(n), 2, Envelope::new());
                let (id, request) = client.message().await;
                assert_eq!(envelope(&request).server_guid.as_deref(), Some(guid.as_bytes().as_slice()));
                client.ack(id).await;
                client.keepalive(1).await;
                client.response().await;
                client
            }));
        }
        let clients = executor.run(async {
            let mut clients = Vec::new();
            for task in tasks {
                clients.push(task.await);
            }
            clients
        });
        let clients = clients.await;
        assert_eq!(server.with_state(|s| s.open_sockets()), DEVICES);
        drop(clients);
    });
    assert!(server.wait_until(LONG, |s| s.open_sockets() == 0));
    let records = server.records();
    assert_eq!((records.connects, records.acks.len()), (DEVICES as u64, DEVICES));
    assert!(records.devices.values().all(|d| d.max_open <= 1 && d.unanswered == 0));
}

#[test]
fn asynchronous_code_can_wait_without_blocking_its_thread() {
    let (pki, server) = server();
    block_on(async {
        // Client and waiting share one thread, so a blocking wait would never end.
        let client = async {
            let mut client = Client::connect(&pki, &server).await;
            client.queue_empty().await;
            client
        };
        let connected = server.until(LONG, |s| s.records().device(ACI, 2).queue_empty == 1);
        let (_client, connected) = smol::future::zip(client, connected).await;
        assert!(connected);
        assert!(!server.until(SHORT, |s| s.open_sockets() == 2).await);
    });
}
