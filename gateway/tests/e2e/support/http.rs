//! As much HTTP/1.1 as the tests need, on a plain socket: one request a connection, bodies by length or in chunks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::PATIENCE;

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the answer is UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// The status of an answer, if there is anybody who gives one.
pub fn try_status(to: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no status in {line:?}")))
}

/// Asks and reads the whole answer.
pub fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let (status, headers, mut stream) = open(to, method, path, headers, body);
    let mut body = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut piece = [0; 16 * 1024];
    loop {
        match stream.read(&mut piece).expect("the answer comes whole") {
            0 => break,
            got => body.extend_from_slice(&piece[..got]),
        }
        // An answer that trickles for ever would keep a mere read deadline away.
        assert!(Instant::now() < deadline, "{method} {path} is not answered within {PATIENCE:?}: {status}");
    }
    Response { status, headers, body }
}

/// Asks and reads the head of the answer; the rest comes from the reader as the server sends it.
pub fn open(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, Vec<(String, String)>, Body) {
    let mut stream = TcpStream::connect(to).expect("the HTTP listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    // A server may answer and close before it has read a body that it refuses.
    let _ = stream.write_all(&[text.as_bytes(), body].concat());
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("the answer has a head");
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let status = lines.first().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let length = find("content-length").map(|value| value.parse().expect("a length"));
    let chunked = find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let kind = if chunked { Kind::Chunked } else { length.map_or(Kind::ToEnd, Kind::Left) };
    (status.unwrap_or_else(|| panic!("no HTTP answer: {lines:?}")), headers, Body { reader, kind, chunk: 0 })
}

enum Kind {
    Left(usize),
    Chunked,
    ToEnd,
}

/// The body of an answer as it comes.
pub struct Body {
    reader: BufReader<TcpStream>,
    kind: Kind,
    chunk: usize,
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.kind {
            Kind::ToEnd => self.reader.read(out),
            Kind::Left(left) => {
                let most = out.len().min(*left);
                let got = self.reader.read(&mut out[..most])?;
                *left -= got;
                Ok(got)
            }
            Kind::Chunked => {
                if self.chunk == 0 {
                    let mut line = String::new();
                    while line.trim().is_empty() {
                        line.clear();
                        if self.reader.read_line(&mut line)? == 0 {
                            return Ok(0);
                        }
                    }
                    self.chunk = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
                    if self.chunk == 0 {
                        self.kind = Kind::Left(0);
                        return Ok(0);
                    }
                }
                let most = out.len().min(self.chunk);
                let got = self.reader.read(&mut out[..most])?;
                self.chunk -= got;
                Ok(got)
            }
        }
    }
}
