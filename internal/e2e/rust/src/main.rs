//! A TURN client of the crate turn-client-proto, which speaks RFC 8489: what it sends to a peer, the peer echoes.
//!
//! Arguments: udp or tcp, the server, the peer, a username, a password, sha1 or sha256, and how many messages of 1000 bytes.
//! It prints how many came back, and ends with 0 if that is all of them.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant as Clock};

use turn_client_proto::api::{Transmit, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::client::TurnClient;
use turn_client_proto::prelude::*;
use turn_client_proto::stun::types::TransportType;
use turn_client_proto::stun::Instant;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::stun::message::IntegrityAlgorithm;
use turn_client_proto::types::TurnCredentials;
use turn_client_proto::udp::TurnClientUdp;

/// How long the whole may take.
const PATIENCE: Duration = Duration::from_secs(20);

enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Link {
    fn send(&mut self, data: &[u8]) -> std::io::Result<()> {
        match self {
            Link::Udp(s) => s.send(data).map(|_| ()),
            Link::Tcp(s) => s.write_all(data),
        }
    }

    /// Waits a moment for what comes next.
    fn receive(&mut self, buf: &mut [u8]) -> std::io::Result<Option<usize>> {
        let got = match self {
            Link::Udp(s) => s.recv(buf),
            Link::Tcp(s) => s.read(buf),
        };
        match got {
            Ok(n) => Ok(Some(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::TimedOut => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Makes the connection, and the client that is to be told what comes over it.
fn connect(transport: &str, server: SocketAddr, config: TurnConfig) -> std::io::Result<(Link, TurnClient)> {
    let wait = Some(Duration::from_millis(20));
    if transport == "tcp" {
        let s = TcpStream::connect(server)?;
        s.set_read_timeout(wait)?;
        let local = s.local_addr()?;
        return Ok((Link::Tcp(s), TurnClientTcp::allocate(local, server, config).into()));
    }
    let s = UdpSocket::bind("127.0.0.1:0")?;
    s.connect(server)?;
    s.set_read_timeout(wait)?;
    let local = s.local_addr()?;
    Ok((Link::Udp(s), TurnClientUdp::allocate(local, server, config).into()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [transport, server, peer, username, password, hash, count] = args.as_slice() else {
        return Err("seven arguments are needed".into());
    };
    let mut config = TurnConfig::new(TurnCredentials::new(username, password));
    config.set_supported_integrity(match hash.as_str() {
        "sha256" => IntegrityAlgorithm::Sha256,
        _ => IntegrityAlgorithm::Sha1,
    });
    let (mut link, mut client) = connect(transport, server.parse()?, config)?;
    println!("{}", echoed(&mut link, &mut client, peer.parse()?, count.parse()?)?);
    Ok(())
}

/// Sends count messages, each when the one before has come back, and gives the allocation back.
fn echoed(link: &mut Link, client: &mut TurnClient, peer: SocketAddr, count: usize) -> Result<usize, Box<dyn Error>> {
    let (kind, server, local) = (client.transport(), client.remote_addr(), client.local_addr());
    let begun = Clock::now();
    let (mut sent, mut back) = (0, 0);
    let mut buf = vec![0; 1 << 16];
    while back < count {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{back} of {count} came back in time").into());
        }
        let now = Instant::from_std(begun);
        if let TurnPollRet::Closed = client.poll(now) {
            return Err("the client gave up".into());
        }
        while let Some(t) = client.poll_transmit(now) {
            link.send(&t.data)?;
        }
        let mut ready = false; // for the next message
        while let Some(event) = client.poll_event() {
            match event {
                TurnEvent::AllocationCreated(..) => client.bind_channel(TransportType::Udp, peer, now)?,
                TurnEvent::ChannelCreated(..) => ready = true,
                TurnEvent::PermissionCreated(..) => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        if let Some(n) = link.receive(&mut buf)? {
            match client.recv(Transmit::new(&buf[..n], kind, server, local), now) {
                TurnRecvRet::PeerData(d) => ready |= d.data() == message(back),
                TurnRecvRet::Handled => {}
                other => return Err(format!("{other:?}").into()),
            }
            while let Some(d) = client.poll_recv(now) {
                ready |= d.data() == message(back);
            }
            back = if ready { sent } else { back };
        }
        if ready && sent < count {
            if let Some(t) = client.send_to(TransportType::Udp, peer, message(sent), now)? {
                link.send(&t.build().data)?;
            }
            sent += 1;
        }
    }
    let now = Instant::from_std(begun);
    client.delete(now)?;
    while let Some(t) = client.poll_transmit(now) {
        link.send(&t.data)?;
    }
    Ok(back)
}

fn message(n: usize) -> Vec<u8> {
    vec![n as u8; 1000]
}
