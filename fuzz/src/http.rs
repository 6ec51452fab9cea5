//! A strict and slow reader of HTTP/1.1 (RFC 9112), to compare the program's with.

/// A request as both readers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As sent.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Decoded.
    pub body: Vec<u8>,
}

/// The trailer section of a chunked body. hyper finds its end as the standard says, and does not always look inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailers {
    /// None, or proper fields.
    Fine,
    /// Something else: whoever gets it may refuse or ignore it.
    Odd,
}

/// The one request at the start of `bytes`; `None` when it is incomplete or breaks a rule.
pub fn request(bytes: &[u8]) -> Option<(Request, Trailers)> {
    let (lines, rest) = head(bytes)?;
    let (first, fields) = lines.split_first()?;
    let mut parts = first.split(' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !token(method) || !target.chars().all(|c| c.is_ascii_graphic()) {
        return None;
    }
    let minor = match version {
        "HTTP/1.1" => 1,
        "HTTP/1.0" => 0,
        _ => return None,
    };
    let fields: Vec<(String, &str)> = fields.iter().map(|line| field(line)).collect::<Option<_>>()?;
    let all = |name: &str| fields.iter().filter(|(n, _)| n == name).map(|(_, v)| *v).collect::<Vec<_>>();
    match (all("host").len(), minor) {
        (1, _) | (0, 0) => {}
        _ => return None,
    }
    let (body, trailers) = match (all("content-length")[..].as_ref(), all("transfer-encoding")[..].as_ref()) {
        ([], []) => (Vec::new(), Trailers::Fine),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            (rest.get(..length.parse().ok()?)?.to_vec(), Trailers::Fine)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && minor == 1 => chunked(rest)?,
        _ => return None,
    };
    Some((Request { method: method.to_owned(), target: target.to_owned(), body }, trailers))
}

/// The status of the first final answer in `bytes` and its fields, names in small letters; `None` when it is incomplete
/// or breaks a rule.
pub fn answer(bytes: &[u8]) -> Option<(u16, Vec<(String, String)>)> {
    let mut rest = bytes;
    loop {
        let (lines, tail) = head(rest)?;
        let (first, fields) = lines.split_first()?;
        let tail_of_line = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "))?;
        let (code, reason) = tail_of_line.split_at_checked(3)?;
        if !code.bytes().all(|b| b.is_ascii_digit()) || !reason.starts_with(' ') {
            return None;
        }
        let status: u16 = code.parse().ok()?;
        let fields: Vec<(String, String)> =
            fields.iter().map(|line| field(line).map(|(n, v)| (n, v.to_owned()))).collect::<Option<_>>()?;
        match status {
            0..=99 => return None,
            101 | 200.. => return Some((status, fields)),
            _ => rest = tail,
        }
    }
}

/// The lines of a head and what follows it. Every line ends in CR LF and holds no other control character but tabs.
fn head(bytes: &[u8]) -> Option<(Vec<String>, &[u8])> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    // Bytes beyond ASCII may be in a value (RFC 9110 section 5.5); any one-byte encoding will do.
    let text: String = bytes[..end].iter().map(|b| char::from(*b)).collect();
    let lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    let clean = |line: &String| line.chars().all(|c| c == '\t' || !c.is_ascii_control());
    lines.iter().all(clean).then_some((lines, &bytes[end + 4..]))
}

fn field(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.split_once(':')?;
    token(name).then(|| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
}

fn token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Chunked coding (RFC 9112 section 7.1), extensions and trailers included; all of it must be there.
fn chunked(mut rest: &[u8]) -> Option<(Vec<u8>, Trailers)> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let extension = line[digits..].trim_ascii_start();
        if !(extension.is_empty() || extension[0] == b';') || line.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            return None;
        }
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
    if rest.starts_with(b"\r\n") {
        return Some((body, Trailers::Fine));
    }
    if !rest.windows(4).any(|w| w == b"\r\n\r\n") {
        return None;
    }
    let fine = head(rest).is_some_and(|(lines, _)| lines.iter().all(|line| field(line).is_some()));
    Some((body, if fine { Trailers::Fine } else { Trailers::Odd }))
}
