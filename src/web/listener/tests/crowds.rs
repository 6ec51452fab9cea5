//! More clients than there are seats.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Long enough for the server to notice.
async fn moment() {
    Timer::after(Duration::from_millis(60)).await;
}

async fn connect(addr: SocketAddr, start: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    moment().await;
    stream
}

fn overload(answer: &str, want: &str) {
    assert_eq!(status(answer), want, "{answer}");
    for header in ["retry-after: 5", "x-content-type-options: nosniff", "content-security-policy: default-src 'none'"] {
        assert!(answer.contains(header), "{header}: {answer}");
    }
}

/// Strangers: nobody's address is a proxy's.
fn strangers() -> Bounds {
    Bounds { trusted: Vec::new(), ..patient() }
}

/// Nobody is ended for being slow.
fn patient() -> Bounds {
    Bounds { head: PATIENCE * 2, request: PATIENCE * 2, ..bounds() }
}

#[test]
fn slow_heads_bodies_and_readers_give_way_at_once() {
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na";
    for slow in ["", "GET / HT", post] {
        with_server(Bounds { connections: 2, ..patient() }, async |server| {
            let mut idle = [connect(server.addr, slow).await, connect(server.addr, slow).await];
            for _ in 0..5 {
                let started = Instant::now();
                assert!(talk(server.addr, GET).await.ends_with("hello"));
                assert!(started.elapsed() < Duration::from_millis(500), "{slow:?}: {:?}", started.elapsed());
            }
            overload(&answer(&mut idle[0]).await, "503");
        });
    }
    // Done, but not gone: its answer is read, its connection left open.
    with_server(Bounds { connections: 2, ..patient() }, async |server| {
        let mut idle = [connect(server.addr, GET).await, connect(server.addr, GET).await];
        let started = Instant::now();
        assert!(talk(server.addr, GET).await.ends_with("hello"));
        assert!(started.elapsed() < Duration::from_millis(500));
        assert!(answer(&mut idle[0]).await.ends_with("hello"), "nothing is added to an answer that is out");
    });
}

#[test]
fn what_is_being_answered_is_finished_and_newcomers_are_told() {
    with_server(Bounds { connections: 2, ..patient() }, async |server| {
        let mut served = Vec::new();
        for _ in 0..2 {
            served.push(connect(server.addr, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n").await);
        }
        let started = Instant::now();
        for _ in 0..3 {
            overload(&talk(server.addr, GET).await, "503");
        }
        assert!(started.elapsed() < Duration::from_secs(1), "not left hanging");
        drop(served.pop());
        moment().await;
        assert!(talk(server.addr, GET).await.ends_with("hello"));
        let hanging = future::poll_once(answer(&mut served[0])).await;
        assert_eq!(hanging, None, "the other is still being served");
    });
}

#[test]
fn a_stranger_with_too_many_connections_harms_only_himself() {
    with_server(Bounds { connections: 50, connections_per_client: 3, ..strangers() }, async |server| {
        let mut own = Vec::new();
        for _ in 0..4 {
            own.push(connect(server.addr, "GET").await);
        }
        overload(&answer(&mut own[0]).await, "429");
        assert_eq!(future::poll_once(answer(&mut own[1])).await, None, "three may stay");
        for stream in &mut own[1..] {
            stream.write_all(b" /hang HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        }
        moment().await;
        overload(&talk(server.addr, GET).await, "429");
    });
}

#[test]
fn behind_a_proxy_connections_and_requests_are_counted_by_whom_it_names() {
    let of = |client: &str, target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6, {client}\r\n\r\n")
    };
    let requests = Rate { burst: 5, every: Duration::from_secs(3600) };
    with_server(Bounds { connections: 50, connections_per_client: 2, requests, ..patient() }, async |server| {
        let _slow = [connect(server.addr, "").await, connect(server.addr, "").await, connect(server.addr, "").await];
        let one = "198.51.100.1";
        let mut served = [connect(server.addr, &of(one, "/hang")).await, connect(server.addr, &of(one, "/hang")).await];
        overload(&talk(server.addr, of(one, "/")).await, "429");
        for _ in 0..5 {
            assert_eq!(status(&talk(server.addr, of("2001:db8::1", "/")).await), "200");
        }
        let refused = talk(server.addr, of("2001:db8::2", "/")).await;
        assert!(status(&refused) == "429" && refused.contains("retry-after: 3600"), "one /64, one client: {refused}");
        for _ in 0..20 {
            assert_eq!(status(&talk(server.addr, GET).await), "200", "without a name nobody is counted");
        }
        assert_eq!(future::poll_once(answer(&mut served[0])).await, None);
    });
}

#[test]
fn running_out_of_descriptors_frees_some() {
    /// Accepts two and then, as the kernel does, fails at once.
    struct Scarce(TcpListener, AtomicUsize);
    impl Accept for Scarce {
        type Stream = TcpStream;
        async fn accept(&self) -> io::Result<(TcpStream, Option<IpAddr>)> {
            if self.1.fetch_add(1, Ordering::Relaxed) < 2 {
                return Accept::accept(&self.0).await;
            }
            Err(io::Error::from_raw_os_error(24))
        }
    }
    let executor = Arc::new(Executor::new());
    block_on(executor.clone().run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = Scarce(listener, AtomicUsize::new(0));
        let server = serve(app(), listener, patient(), Arc::default(), executor.clone(), std::future::pending());
        let server = executor.spawn(server);
        let mut served = TcpStream::connect(addr).await.unwrap();
        served.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        let mut idle = TcpStream::connect(addr).await.unwrap();
        overload(&answer(&mut idle).await, "503");
        assert!(answer(&mut served).await.ends_with("done"));
        drop(server);
    }));
}
