//! A connection that is cut or stands still at a chosen moment of an append: whoever sends the same
//! command id again gets the first answer, and the event is there once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use freehold_ports::{AppendError, EventStore as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::events::{Findings, Ledger, exactly, read_everything, request};
use crate::fenced::Scratch;
use crate::postgres::open;

/// Longer than the store gives a call, so that nobody waits for ever.
const PATIENCE: Duration = Duration::from_secs(50);

/// What happens to the next call that appends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It does not reach the server; the connection ends.
    CutBefore,
    /// Half of its bytes reach the server; the connection ends.
    CutInside,
    /// The connection ends when the server has committed, and before its reply passes.
    CutReply,
    /// It does not reach the server; the connection stays.
    StallBefore,
    /// The server has committed and its reply does not pass; the connection stays.
    StallReply,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL on this machine"]
async fn a_call_that_is_cut_off_is_answered_when_it_is_sent_again() {
    for (fault, stored) in
        [(Fault::CutBefore, false), (Fault::CutInside, false), (Fault::CutReply, true)]
    {
        fails_once(&Scratch::make().await, fault, stored).await;
    }
}

/// What lasts as long as a call may, and is idle meanwhile: `cargo xtask test` runs it beside others.
mod waiting {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[ignore = "needs PostgreSQL on this machine"]
    async fn a_call_that_stands_still_ends_and_is_answered_when_it_is_sent_again() {
        let (one, other) = (Scratch::make().await, Scratch::make().await);
        tokio::join!(
            fails_once(&one, Fault::StallBefore, false),
            fails_once(&other, Fault::StallReply, true)
        );
    }
}

async fn fails_once(scratch: &Scratch, fault: Fault, stored: bool) {
    let proxy = Proxy::before(scratch.address().to_owned()).await;
    let url = scratch.url().replace(scratch.address(), &proxy.address.to_string());
    let store = open(&format!("{url}&sslmode=disable")).await;
    let first = store.append(request((0, 0), "cut", exactly(0))).await.unwrap();
    let cut = request((0, 1), "cut", exactly(1));

    *proxy.next.lock().unwrap() = Some(fault);
    let began = Instant::now();
    let lost = store.append(cut.clone()).await;

    assert!(began.elapsed() < PATIENCE, "{fault:?}: {:?}", began.elapsed());
    assert!(matches!(lost, Err(AppendError::OutcomeUnknown { .. })), "{fault:?}: {lost:?}");
    assert_eq!(*proxy.next.lock().unwrap(), None, "the call did not pass here");
    let again = store.append(cut.clone()).await.unwrap();
    assert_eq!(again.repeated, stored, "{fault:?}");
    assert_eq!(again.position.0, first.position.0 + 1);
    assert_eq!(store.append(cut).await.unwrap().position, again.position);
    let log = read_everything(&*open(&scratch.url()).await).await;
    assert_eq!(log.len(), 2);
    assert_eq!(Findings::of(&log, &Ledger::of(&log).acknowledged), Findings::default());
    assert_eq!(store.check_integrity().await.unwrap(), [""; 0]);
}

/// Passes messages between a store and its server, until one fails as it is told.
struct Proxy {
    address: SocketAddr,
    next: Arc<Mutex<Option<Fault>>>,
}

impl Proxy {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let next: Arc<Mutex<Option<Fault>>> = Arc::default();
        let fault = next.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, fault.clone()));
            }
        });
        Self { address, next }
    }
}

/// Passes the messages of one connection until either side ends it, or a fault does.
async fn pass(client: TcpStream, server: TcpStream, next: Arc<Mutex<Option<Fault>>>) {
    // Messages are passed one by one; none waits to be sent with the next.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let under_way = Mutex::new(None);
    let calls = async {
        // The first message has no type.
        let size = from_client.read_u32().await?;
        let mut first = size.to_be_bytes().to_vec();
        first.resize(size as usize, 0);
        from_client.read_exact(&mut first[4..]).await?;
        to_server.write_all(&first).await?;
        let mut appends = None;
        loop {
            let message = read_message(&mut from_client).await?;
            let mut names = message[5..].split(|byte| *byte == 0);
            match message[0] {
                // Parse: the statement's name, its text.
                b'P' => {
                    let (name, text) = (names.next(), names.next());
                    if text.is_some_and(|text| text.starts_with(b"SELECT append_events(")) {
                        appends = name.map(<[u8]>::to_vec);
                    }
                }
                // Bind: the portal's name, the statement's.
                b'B' if appends.as_deref() == names.nth(1) => {
                    let fault = next.lock().unwrap().take();
                    *under_way.lock().unwrap() = fault;
                    match fault {
                        Some(Fault::CutBefore) => return Ok(()),
                        Some(Fault::CutInside) => {
                            return to_server.write_all(&message[..message.len() / 2]).await;
                        }
                        Some(Fault::StallBefore) => std::future::pending().await,
                        Some(Fault::CutReply | Fault::StallReply) | None => {}
                    }
                }
                _ => {}
            }
            to_server.write_all(&message).await?;
        }
    };
    let replies = async {
        loop {
            let message = read_message(&mut from_server).await?;
            let fault = *under_way.lock().unwrap();
            match fault {
                // "Ready for query" is sent after the commit.
                Some(Fault::CutReply) if message[0] == b'Z' => return Ok(()),
                Some(Fault::CutReply | Fault::StallReply) => {}
                _ => to_client.write_all(&message).await?,
            }
        }
    };
    let _: std::io::Result<()> =
        tokio::select! { ended = calls => ended, ended = replies => ended };
}

/// A message of the protocol with its type and length.
async fn read_message(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).await?;
    let size = u32::from_be_bytes([message[1], message[2], message[3], message[4]]);
    message.resize(size as usize + 1, 0);
    from.read_exact(&mut message[5..]).await?;
    Ok(message)
}
