//! A stream over real sockets on loopback, and requests behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use concurrence_crdt::Time;
use concurrence_sources::{
    Channel, Market, PollPolicy, Poller, Source, SourceConfig, Stream, StreamState, Target, Venue,
};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

/// Bound on waiting for anything here.
const PATIENCE: Duration = Duration::from_secs(20);

/// The time that the node's clock shows in these tests.
const NOW: Time = Time::from_ms(1_700_000_000_000);

const GOOD: &str = r#"{"e":"24hrTicker","E":1700000000000,"s":"BTCUSDT","b":"99","a":"101","c":"100","v":"5"}"#;

/// A venue: each connection is handled as its number says, and what it hears is reported.
async fn venue(
    script: impl Fn(usize, TcpStream, mpsc::UnboundedSender<String>) + Send + 'static,
) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((socket, _)) = listener.accept().await else { return };
            script(number, socket, sender.clone());
        }
    });
    (url, heard)
}

fn listen(url: &str) -> Stream {
    let market = Market { symbol: "BTCUSDT".to_owned(), on_stream: "BTCUSDT".to_owned() };
    Stream::start(Channel::BinanceStream, Some(url), vec![market], 1, Arc::new(|| NOW)).unwrap()
}

/// Refuses the upgrade.
async fn refuse(mut socket: TcpStream, answer: &str) {
    let mut request = [0; 2048];
    let _ = socket.read(&mut request).await;
    let _ = socket.write_all(answer.as_bytes()).await;
}

/// Upgrades, reports the first text, sends a ping frame and some texts, and reports the pong.
async fn speak(socket: TcpStream, heard: mpsc::UnboundedSender<String>, texts: Vec<String>) {
    let mut socket = accept_async(socket).await.unwrap();
    let Some(Ok(Message::Text(text))) = socket.next().await else { return };
    heard.send(text.to_string()).ok();
    socket.send(Message::Ping(b"beat".to_vec().into())).await.ok();
    for text in texts {
        socket.send(Message::text(text)).await.ok();
    }
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Pong(payload) = message {
            heard.send(format!("pong {}", String::from_utf8_lossy(&payload))).ok();
        }
    }
}

async fn within<T>(future: impl Future<Output = Option<T>>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time").expect("something")
}

#[tokio::test]
async fn a_refused_connection_comes_back_and_gives_prices() {
    let (url, mut heard) = venue(|number, socket, heard| {
        let texts = vec!["<html>".to_owned(), GOOD.to_owned()];
        tokio::spawn(async move {
            match number {
                0 => {
                    refuse(socket, "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
                        .await
                }
                1 => drop(socket),
                _ => speak(socket, heard, texts).await,
            }
        });
    })
    .await;
    let began = Instant::now();
    let mut stream = listen(&url);
    let streamed = within(stream.next()).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "the wait that was asked for");
    assert_eq!((streamed.symbol.as_str(), streamed.quote.last.unwrap().to_string()), ("BTCUSDT", "100".to_owned()));
    assert_eq!(streamed.quote.received, NOW);
    assert!(within(heard.recv()).await.contains("btcusdt@ticker"), "it subscribed");
    assert_eq!(within(heard.recv()).await, "pong beat", "it answers ping frames");
    let counts = stream.state().counts();
    assert_eq!((counts.ended["rate_limited"], counts.ended["closed"], counts.unreadable["syntax"]), (1, 1, 1));
}

/// Messages beyond the bound end the connection, and cost no memory beyond it.
#[tokio::test]
async fn a_message_without_end_is_not_read_to_its_end() {
    let (url, _heard) = venue(|_, socket, heard| {
        let long = "x".repeat(concurrence_sources::MESSAGE_LEN_MAX + 1);
        tokio::spawn(speak(socket, heard, vec![long]));
    })
    .await;
    let stream = listen(&url);
    let state = stream.state();
    wait_until(|| state.counts().ended.contains_key("closed")).await;
    assert_eq!(state.counts().messages, 0);
}

#[tokio::test]
async fn what_the_stream_gives_is_not_asked_for() {
    let (url, _heard) = venue(|_, socket, heard| drop(tokio::spawn(speak(socket, heard, vec![GOOD.to_owned()])))).await;
    let mut stream = listen(&url);
    within(stream.next()).await;
    let state: Arc<StreamState> = stream.state();
    let hour = Duration::from_secs(3_600);
    assert!(state.covers("BTCUSDT", hour) && !state.covers("ETHUSDT", hour));

    let asked = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = SourceConfig::new(Venue::Binance, format!("http://{}", listener.local_addr().unwrap()));
    let counter = asked.clone();
    let app = axum::Router::new().fallback(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let body = GOOD.replace("BTCUSDT", "ETHUSDT");
        async move { ([("content-type", "application/json")], body) }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let source = Arc::new(Source::new(config, Arc::new(|| NOW)).unwrap());
    let target = |symbol: &str| Target { source: 0, symbol: symbol.to_owned() };
    let targets = [target("BTCUSDT"), target("ETHUSDT")];
    let mut poller = Poller::start_behind(Some(state), &[source], &targets, PollPolicy::every(hour));
    assert_eq!(within(poller.next()).await.symbol, "ETHUSDT", "the other market only");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

async fn wait_until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
