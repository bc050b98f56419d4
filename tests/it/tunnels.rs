//! `p2p/*`: connections of other programs over streams between two nodes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::server::TestServer;

/// Nothing here takes this long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two nodes of one network with tunnels, connected.
async fn two() -> (TestServer, TestServer) {
    let one = TestServer::start().await;
    let two = TestServer::start_with_key_of(&one).await;
    for node in [&one, &two] {
        let switch = "config?arg=Experimental.Libp2pStreamMounting&arg=true&bool=true";
        node.rpc(switch).await.text();
    }
    let address = one.rpc("id").await.values()[0]["Addresses"][0].as_str().unwrap().to_owned();
    two.rpc(&format!("swarm/connect?arg={address}")).await.text();
    (one, two)
}

async fn id(node: &TestServer) -> String {
    node.rpc("id").await.values()[0]["ID"].as_str().unwrap().to_owned()
}

/// Forwards a free port of `from` to `protocol` of `to`.
async fn forward(from: &TestServer, protocol: &str, to: &TestServer) -> TcpStream {
    let peer = id(to).await;
    let at = "/ip4/127.0.0.1/tcp/0";
    let command = format!("p2p/forward?arg={protocol}&arg={at}&arg=/p2p/{peer}");
    assert_eq!(from.rpc(&command).await.text(), "");
    let listeners = listeners(from).await;
    let listed = listeners.iter().find(|listed| listed["TargetAddress"] == format!("/p2p/{peer}"));
    let address = listed.unwrap()["ListenAddress"].as_str().unwrap();
    let port: u16 = address.rsplit('/').next().unwrap().parse().unwrap();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

async fn listeners(node: &TestServer) -> Vec<Value> {
    let mut listed = node.rpc("p2p/ls").await.values();
    listed[0]["Listeners"].take().as_array().cloned().unwrap_or_default()
}

async fn streams(node: &TestServer) -> Vec<Value> {
    let mut listed = node.rpc("p2p/stream/ls").await.values();
    listed[0]["Streams"].take().as_array().cloned().unwrap_or_default()
}

async fn until_no_streams(node: &TestServer) {
    let gone = async {
        while !streams(node).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("streams go");
}

/// A listener of the system, and what `p2p/listen` calls it.
async fn target() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("/ip4/127.0.0.1/tcp/{port}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_and_each_half_ends_by_itself() {
    let (server, client) = two().await;
    let (listener, address) = target().await;
    let listen = format!("p2p/listen?arg=/x/echo&arg={address}&report-peer-id=true");
    assert_eq!(server.rpc(&listen).await.text(), "");
    let echo = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        // All of it before a byte of the answer: the halves are independent.
        let mut all = Vec::new();
        connection.read_to_end(&mut all).await.unwrap();
        connection.write_all(&all).await.unwrap();
    });
    let mut connection = forward(&client, "/x/echo", &server).await;
    let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    connection.write_all(&sent).await.unwrap();
    let (of_client, of_server) = (streams(&client).await, streams(&server).await);
    assert_eq!(of_client[0]["HandlerID"], "0");
    assert_eq!(of_client[0]["TargetAddress"], format!("/p2p/{}", id(&server).await));
    assert_eq!(of_server[0]["OriginAddress"], format!("/p2p/{}", id(&client).await));
    assert_eq!(of_server[0]["TargetAddress"], address);
    connection.shutdown().await.unwrap();
    let mut back = Vec::new();
    connection.read_to_end(&mut back).await.unwrap();
    let line = format!("{}\n", id(&client).await);
    assert!(back.starts_with(line.as_bytes()), "the line that tells the peer");
    assert!(back[line.len()..] == sent);
    echo.await.unwrap();
    until_no_streams(&client).await;
    until_no_streams(&server).await;
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_goes_takes_the_other_with_it() {
    let (server, client) = two().await;
    let (listener, address) = target().await;
    server.rpc(&format!("p2p/listen?arg=/x/a&arg={address}")).await.text();
    let mut first = forward(&client, "/x/a", &server).await;
    first.write_all(b"x").await.unwrap();
    let (mut at_target, _) = listener.accept().await.unwrap();
    assert_eq!(at_target.read_u8().await.unwrap(), b'x');
    // A closed listener lets what it carries go on.
    assert_eq!(server.rpc("p2p/close?protocol=/x/a").await.text(), "1\n");
    at_target.write_all(b"y").await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'y');
    let opened = streams(&client).await[0]["HandlerID"].as_str().unwrap().to_owned();
    assert_eq!(client.rpc(&format!("p2p/stream/close?arg={opened}")).await.text(), "");
    assert_eq!(first.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(at_target.read(&mut [0; 8]).await.unwrap_or(0), 0);
    until_no_streams(&client).await;
    until_no_streams(&server).await;
    // Nobody serves the protocol any more, and then it is served again.
    let port = first.peer_addr().unwrap();
    let mut refused = TcpStream::connect(port).await.unwrap();
    assert_eq!(refused.read(&mut [0; 8]).await.unwrap_or(0), 0);
    server.rpc(&format!("p2p/listen?arg=/x/a&arg={address}")).await.text();
    let mut connection = TcpStream::connect(port).await.unwrap();
    connection.write_all(b"z").await.unwrap();
    let (mut at_target, _) = listener.accept().await.unwrap();
    assert_eq!(at_target.read_u8().await.unwrap(), b'z');
    // The end of a node is the end of what it carried.
    client.stop().await;
    assert_eq!(at_target.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(connection.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(port).await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_at_once_all_arrive() {
    let (server, client) = two().await;
    let (listener, address) = target().await;
    server.rpc(&format!("p2p/listen?arg=/custom/1&arg={address}&allow-custom-protocol=true")).await;
    let echo = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let number = connection.read_u32().await.unwrap();
                connection.write_u32(number).await.unwrap();
            });
        }
    });
    let peer = id(&server).await;
    let at = "/dns4/localhost/tcp/0";
    let command =
        format!("p2p/forward?arg=/custom/1&arg={at}&arg=/p2p/{peer}&allow-custom-protocol=true");
    assert_eq!(client.rpc(&command).await.text(), "");
    let address = listeners(&client).await[0]["ListenAddress"].as_str().unwrap().to_owned();
    let port: u16 = address.rsplit('/').next().unwrap().parse().unwrap();
    let calls = (0..200_u32).map(|number| async move {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        connection.write_u32(number).await.unwrap();
        assert_eq!(connection.read_u32().await.unwrap(), number);
    });
    let all = futures_util::future::join_all(calls);
    tokio::time::timeout(PATIENCE, all).await.expect("every connection is answered");
    echo.abort();
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_in_the_foreground_ends_with_its_request_and_is_told_of_its_end() {
    let (server, client) = two().await;
    let command = "/api/v0/p2p/listen?arg=/x/f&arg=/ip4/127.0.0.1/tcp/1&foreground=true";
    let request = format!("POST {command} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut hung_up = server.connect().await;
    hung_up.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 4096];
    let active = json!({"Status": "active", "Protocol": "/x/f", "Address": "/ip4/127.0.0.1/tcp/1"});
    let mut said = String::new();
    while !said.contains("active") {
        let read = hung_up.read(&mut head).await.unwrap();
        assert!(read > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&head[..read]));
    }
    assert!(said.contains(&active.to_string()) || said.contains("\"Status\":\"active\""), "{said}");
    assert_eq!(listeners(&server).await.len(), 1);
    drop(hung_up);
    let gone = async {
        while !listeners(&server).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the listener goes with its request");
    let closing = async {
        while listeners(&server).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(server.rpc("p2p/close?all=true").await.text(), "1\n");
    };
    let (said, ()) = tokio::join!(server.exchange(request), closing);
    assert!(said.contains("active") && said.contains("closing"), "{said}");
    client.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_tunnel_is_refused() {
    let server = TestServer::start().await;
    let refused = server.rpc("p2p/ls").await.message();
    assert_eq!(refused, "libp2p stream mounting not enabled");
    server.rpc("config?arg=Experimental.Libp2pStreamMounting&arg=true&bool=true").await.text();
    let own = id(&server).await;
    for (command, error) in [
        ("p2p/forward?arg=/x/a&arg=/ip4/127.0.0.1/tcp/0&arg=/ip4/1.2.3.4/tcp/1", "invalid p2p"),
        ("p2p/listen?arg=/x/a&arg=/ip4/127.0.0.1/tcp/1/ws", "is not the address of a TCP or UDP"),
        (
            "p2p/listen?arg=/ipfs/id/1.0.0&arg=/ip4/127.0.0.1/tcp/1&allow-custom-protocol=true",
            "the node itself speaks /ipfs/id/1.0.0",
        ),
        (&format!("p2p/forward?arg=/x/a&arg=/ip4/127.0.0.1/udp/0&arg=/p2p/{own}"), "TCP port"),
        (
            &format!(
                "p2p/forward?arg=a&arg=/ip4/127.0.0.1/tcp/0&arg=/p2p/{own}\
                 &allow-custom-protocol=true"
            ),
            "does not begin with /",
        ),
        (
            &format!("p2p/forward?arg=/x/a&arg={}&arg=/p2p/{own}", {
                let port = server.address.port();
                format!("/ip4/127.0.0.1/tcp/{port}")
            }),
            "listen /ip4/127.0.0.1/tcp/",
        ),
    ] {
        let found = server.rpc(command).await.message();
        assert!(found.contains(error), "{command}: {found}");
    }
    assert!(listeners(&server).await.is_empty());
    server.stop().await;
}
