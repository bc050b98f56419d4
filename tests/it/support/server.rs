//! A node and its RPC server in this process, and a client that speaks raw bytes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pinmesh::config::Config;
use pinmesh::http::rpc::commands_log::CommandLog;
use pinmesh::http::{Listener, Options, Server};
use pinmesh::node::start::{self, Running};
use pinmesh::repo::{self, Identity, Repo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running server; [`TestServer::stop`] ends it.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) log: CommandLog,
    running: Running,
    // Dropped last: the node is in it.
    directory: TempDir,
}

impl TestServer {
    /// A fresh node, online but without peers, on a free port of loopback.
    pub(crate) async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    /// The same with a config of its own.
    pub(crate) async fn start_with(change: impl FnOnce(Config) -> Config) -> Self {
        Self::start_in(None, change).await
    }

    /// The same in the private network of this swarm key.
    pub(crate) async fn start_member(swarm_key: &str) -> Self {
        Self::start_in(Some(swarm_key), |config| config).await
    }

    /// The same in the private network of another node.
    pub(crate) async fn start_with_key_of(other: &Self) -> Self {
        Self::start_with_key_and(other, |config| config).await
    }

    /// The same with a config of its own.
    pub(crate) async fn start_with_key_and(
        other: &Self,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        let key = std::fs::read_to_string(other.directory().join("swarm.key")).unwrap();
        Self::start_in(Some(&key), change).await
    }

    async fn start_in(swarm_key: Option<&str>, change: impl FnOnce(Config) -> Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::generate("ed25519", None).unwrap();
        let peer_id = identity.peer_id().to_base58();
        let config = Config::fresh(&peer_id, &identity.private_key_text()).unwrap();
        let config = change(config.with_profile("test").unwrap());
        repo::init(directory.path(), &config).unwrap();
        if let Some(key) = swarm_key {
            repo::write_swarm_key(directory.path(), key).unwrap();
        }
        Self::start_again(directory).await
    }

    /// The node of a directory that was stopped.
    pub(crate) async fn start_again(directory: TempDir) -> Self {
        let repo = unlocked(&directory).await;
        let config = repo.config();
        let options = start::Options { is_daemon: true, ..start::Options::default() };
        let mut running = start::start(repo, options).await.unwrap();
        let listener = Listener::tcp(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.tcp_address().unwrap();
        let options = Options::new(&config, "0.44.0", "kubo/0.44.0/test", "");
        let node = running.node().clone();
        let server = Server::new(node.clone(), options);
        let log = server.log();
        log.set_keep(Duration::from_secs(3600));
        let unix = Listener::unix(&directory.path().join("api.sock")).unwrap();
        for listener in [listener, unix] {
            let (server, node) = (server.clone(), node.clone());
            running.spawn("rpc", async move {
                server.run(listener, node.stopped()).await;
                Ok(())
            });
        }
        Self { address, log, running, directory }
    }

    /// Where the unix socket is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends the server and waits for its last task.
    pub(crate) async fn stop(self) -> TempDir {
        self.running.node().shutdown();
        self.running.wait(Some(Duration::from_secs(10))).await.unwrap();
        self.directory
    }

    /// A connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a connection of its own and reads to the end.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_ref()).await.unwrap();
        read_all(&mut socket).await
    }

    /// The same, all bytes of the answer.
    pub(crate) async fn exchange_bytes(&self, request: &[u8]) -> Vec<u8> {
        let (mut reader, mut writer) = self.connect().await.into_split();
        let mut answer = Vec::new();
        // The answer may begin, and end, while the request is still on its way.
        let sent = async {
            let _ = writer.write_all(request).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = reader.read_to_end(&mut answer) => drop(read),
            () = sent => {}
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("no end of the answer"),
        }
        answer
    }

    /// `POST` without a body on a connection of its own.
    pub(crate) async fn post(&self, target: &str) -> String {
        self.exchange(format!("POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await
    }
}

/// Everything up to the end of the connection.
pub(crate) async fn read_all(socket: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    // A reset after the answer is as good as an end.
    let _ = tokio::time::timeout(Duration::from_secs(30), read).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}: did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The repository in a directory. Threads of a node that has stopped may hold it for a moment more.
async fn unlocked(directory: &TempDir) -> Repo {
    const PATIENCE: Duration = Duration::from_secs(30);
    let opening = async {
        loop {
            match Repo::open(directory.path(), None) {
                Err(repo::Error::Locked { .. }) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.expect("the repository is let go")
}
