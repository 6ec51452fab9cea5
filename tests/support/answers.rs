//! Requests byte for byte, and their answers in full.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{PATIENCE, World};

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().filter_map(|line| line.split_once(": ")).filter(|(n, _)| *n == name);
        let value = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{name} twice");
        value
    }
}

pub fn ask(world: &World, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(world.web()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_ref()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(!(300..400).contains(&status), "Molly re-sends a redirected POST as GET");
    let (start, fields) = head.split_once("\r\n").unwrap();
    let fields = fields.lines().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        format!("{}: {value}\n", name.to_lowercase())
    });
    Answer { status, head: format!("{start}\n{}", fields.collect::<String>()), body: body.to_owned() }
}
