//! Commands over HTTP: requests with files, answers with their trailers.

use super::server::TestServer;

/// The boundary of every body.
const BOUNDARY: &str = "a boundary of the tests";

/// What a command has answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// `X-Stream-Error`.
    pub(crate) error: Option<String>,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let head_len = find(bytes, b"\r\n\r\n").expect("a head") + 4;
        let (head, mut rest) = bytes.split_at(head_len);
        let status = std::str::from_utf8(&head[9..12]).unwrap().parse().unwrap();
        if !String::from_utf8_lossy(head).to_lowercase().contains("transfer-encoding: chunked") {
            return Self { status, body: rest.to_vec(), error: None };
        }
        let mut body = Vec::new();
        loop {
            let line = find(rest, b"\r\n").expect("the length of a chunk");
            let len = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16);
            let len = len.unwrap();
            rest = &rest[line + 2..];
            if len == 0 {
                break;
            }
            body.extend_from_slice(&rest[..len]);
            rest = &rest[len + 2..];
        }
        let trailers = String::from_utf8_lossy(rest).into_owned();
        let error = trailers.lines().find_map(|line| line.strip_prefix("X-Stream-Error: "));
        Self { status, body, error: error.map(str::to_owned) }
    }

    /// The body of an answer that succeeded, as text.
    pub(crate) fn text(self) -> String {
        assert_eq!((self.status, &self.error), (200, &None), "{self:?}");
        String::from_utf8(self.body).unwrap()
    }

    /// Its lines, each a JSON value.
    pub(crate) fn values(self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The message of an error answer.
    pub(crate) fn message(self) -> String {
        assert_eq!(self.status, 500, "{self:?}");
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        value["Message"].as_str().unwrap().to_owned()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The part of a body that is one file.
pub(crate) fn part(content: &[u8]) -> Vec<u8> {
    part_named("f", content)
}

/// The part of a body that is one file of this name.
fn part_named(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

/// The end of a body.
pub(crate) fn end() -> Vec<u8> {
    format!("--{BOUNDARY}--\r\n").into_bytes()
}

/// The head of a request with a body of this length; `None` is chunked.
pub(crate) fn head(command: &str, len: Option<usize>) -> String {
    let framing = match len {
        Some(len) => format!("Content-Length: {len}"),
        None => "Transfer-Encoding: chunked".to_owned(),
    };
    format!(
        "POST /api/v0/{command} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=\"{BOUNDARY}\"\r\n{framing}\r\n\r\n"
    )
}

impl TestServer {
    /// Runs a command without a body.
    pub(crate) async fn rpc(&self, command: &str) -> Answer {
        let request = format!(
            "POST /api/v0/{command} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: close\r\n\r\n"
        );
        Answer::parse(&self.exchange_bytes(request.as_bytes()).await)
    }

    /// Runs a command on files.
    pub(crate) async fn rpc_with<F: AsRef<[u8]>>(&self, command: &str, files: &[F]) -> Answer {
        let mut body: Vec<u8> = files.iter().flat_map(|file| part(file.as_ref())).collect();
        body.extend(end());
        let request = [head(command, Some(body.len())).as_bytes(), &body].concat();
        Answer::parse(&self.exchange_bytes(&request).await)
    }

    /// Adds files named by their number in a directory, whose CID comes last.
    pub(crate) async fn add_directory(&self, options: &str, files: &[Vec<u8>]) -> String {
        let parts = files.iter().enumerate();
        let mut body: Vec<u8> =
            parts.flat_map(|(n, file)| part_named(&format!("d%2F{n:04}"), file)).collect();
        body.extend(end());
        let head = head(&format!("add?{options}"), Some(body.len()));
        let request = [head.as_bytes(), &body].concat();
        let values = Answer::parse(&self.exchange_bytes(&request).await).values();
        values.last().unwrap()["Hash"].as_str().unwrap().to_owned()
    }

    /// Puts one block and returns its CID.
    pub(crate) async fn put_block(&self, options: &str, block: &[u8]) -> String {
        let values = self.rpc_with(&format!("block/put?{options}"), &[block]).await.values();
        values[0]["Key"].as_str().unwrap().to_owned()
    }

    /// Puts one node, given as dag-json, and returns its CID.
    pub(crate) async fn put_node(&self, options: &str, node: &str) -> String {
        let values = self.rpc_with(&format!("dag/put?{options}"), &[node]).await.values();
        values[0]["Cid"]["/"].as_str().unwrap().to_owned()
    }
}
