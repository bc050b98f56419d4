use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers one connection after the other, in order; gives the heads of the requests.
async fn server(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            heads.push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    });
    (port, task)
}

fn get(text: &str) -> Request {
    let mut request = Request::new(Method::GET, Url::parse(text).unwrap());
    request.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer key"));
    request.deadline = Some(Instant::now() + Duration::from_secs(60));
    request
}

#[tokio::test]
async fn an_answer_is_read_whole_and_no_longer_than_allowed() {
    let answer = "HTTP/1.1 404 Gone Fishing\r\nContent-Length: 5\r\n\r\nhello".to_owned();
    let (port, task) = server(vec![answer.clone(), answer]).await;
    let url = format!("http://127.0.0.1:{port}/a?b=c");
    let response = Client::default().send(get(&url)).await.unwrap();
    assert_eq!(response.status_line, "404 Gone Fishing");
    assert_eq!(&response.read_all(5).await.unwrap()[..], b"hello");
    let response = Client::default().send(get(&url)).await.unwrap();
    assert!(matches!(response.read_all(4).await, Err(Cause::TooLong(4))));
    let heads = task.await.unwrap();
    assert!(heads[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].to_lowercase().contains(&format!("host: 127.0.0.1:{port}\r\n")));
}

#[tokio::test]
async fn what_fails_is_said_in_the_words_of_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = Client::default().send(get(&format!("http://127.0.0.1:{port}/a"))).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "Get \"http://127.0.0.1:{port}/a\": dial tcp 127.0.0.1:{port}: connect: connection \
             refused"
        )
    );
    let error = Client::default().send(get("http:/a")).await.unwrap_err();
    assert_eq!(error.to_string(), "Get \"http:/a\": http: no Host in request URL");
    // It hangs up without a word.
    let (port, task) = server(vec![String::new()]).await;
    let error = Client::default().send(get(&format!("http://u:p@127.0.0.1:{port}/"))).await;
    let text = error.unwrap_err().to_string();
    assert_eq!(text, format!("Get \"http://u:***@127.0.0.1:{port}/\": EOF"));
    task.await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_longer_than_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut request = get(&format!("http://127.0.0.1:{port}/"));
    request.deadline = Some(Instant::now() + Duration::from_millis(50));
    let error = Client::default().send(request).await.unwrap_err();
    let text = format!("Get \"http://127.0.0.1:{port}/\": context deadline exceeded");
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_redirect_to_another_server_does_not_take_the_key_along() {
    let done = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned();
    let (there, task) = server(vec![done]).await;
    let to = |place: String| {
        format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")
    };
    let moved = vec![to("/b".to_owned()), to(format!("http://localhost:{there}/c"))];
    let (here, first) = server(moved).await;
    let response = Client::default().send(get(&format!("http://127.0.0.1:{here}/a"))).await;
    assert_eq!(&response.unwrap().read_all(9).await.unwrap()[..], b"ok");
    let (first, second) = (first.await.unwrap(), task.await.unwrap());
    assert!(first[1].starts_with("GET /b ") && first[1].contains("Bearer key"));
    assert!(second[0].starts_with("GET /c ") && !second[0].contains("Bearer key"));
}
