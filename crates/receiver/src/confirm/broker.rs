//! A connection to a message broker: MQTT 3.1.1 at QoS 1, over TCP or TLS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use edge_report::courier::entropy;
use rumqttc::{Connect, ConnectReturnCode, Error, Login, Packet, Publish, QoS};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::classify::percent_decoded;
use crate::store::Waiting;
use crate::tls::Authorities;

/// Bytes of a packet from the broker. It has nothing to say but acknowledgements.
const MOST_READ: usize = 1024;

/// Seconds in which the broker is to hear something. A connection is not kept idle for so long.
const KEEP_ALIVE_S: u16 = 60;

/// Where the broker is, and how it knows this receiver. It has a password in it, so it has no `Debug`.
#[derive(Clone)]
pub(crate) struct Address {
    host: String,
    port: u16,
    login: Option<Login>,
    tls: Option<Arc<Authorities>>,
}

impl Address {
    /// `mqtt://[USER:PASSWORD@]HOST[:PORT]`, or `mqtts://` with the file of those who may sign the broker's certificate.
    pub(crate) fn read(url: &str, ca: Option<PathBuf>) -> io::Result<Address> {
        let form = || {
            // It is not shown as it stands, since it may have a password in it.
            let why = "a broker is `mqtt://HOST:PORT`, `mqtt://USER:PASSWORD@HOST:PORT`, or the same with `mqtts:`";
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        let invalid = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let (scheme, rest) = url.split_once("://").ok_or_else(form)?;
        let (tls, port) = match (scheme, ca) {
            ("mqtt", None) => (None, 1883),
            ("mqtts", Some(ca)) => (Some(Arc::new(Authorities::open(ca)?)), 8883),
            ("mqtt", Some(_)) => return invalid("--confirm-ca is for mqtts://"),
            ("mqtts", None) => {
                return invalid("mqtts:// needs --confirm-ca: who signs the broker's certificate");
            }
            _ => return Err(form()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((login, place)) => {
                let (user, password) = login.split_once(':').ok_or_else(form)?;
                let login = Login::new(percent_decoded(user), percent_decoded(password));
                (Some(login), place)
            }
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, digits)) if !digits.ends_with(']') => {
                (host, digits.parse().map_err(|_| form())?)
            }
            _ => (place, port),
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || host.contains(['/', '?', '#', '@']) || port == 0 {
            return Err(form());
        }
        Ok(Address {
            host: host.to_owned(),
            port,
            login,
            tls,
        })
    }

    /// Who may sign the broker's certificate.
    pub(crate) fn authorities(&self) -> Option<Arc<Authorities>> {
        self.tls.clone()
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub(super) struct Broker {
    stream: Box<dyn Stream>,
    /// What has come, up to a packet that has not come to its end.
    received: BytesMut,
    /// Of the last message. They count on over the connection, so that what the broker acknowledges once more stands for no other message.
    last_id: u16,
}

impl Broker {
    pub(super) async fn connect(address: &Address) -> io::Result<Broker> {
        let stream = TcpStream::connect((&*address.host, address.port)).await;
        let stream = stream.map_err(|why| {
            crate::named(
                &why,
                format_args!("broker {}:{}", address.host, address.port),
            )
        })?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &address.tls {
            None => Box::new(stream),
            Some(authorities) => {
                let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
                Box::new(authorities.connector().connect(name, stream).await?)
            }
        };
        let mut broker = Broker {
            stream,
            received: BytesMut::new(),
            last_id: 0,
        };
        // Of 23 letters and digits at most, which every broker takes, and of each connection's own: a second client of a name ends the first.
        let mut connect = Connect::new(format!("edgereport{:013x}", entropy() >> 12));
        connect.keep_alive = KEEP_ALIVE_S;
        connect.login.clone_from(&address.login);
        broker.write(&[Packet::Connect(connect)]).await?;
        match broker.read().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(broker),
            Packet::ConnAck(ack) => Err(io::Error::other(format!(
                "the broker refuses the connection: {:?}",
                ack.code
            ))),
            _ => Err(unexpected()),
        }
    }

    /// Publishes them all, and says of each whether the broker has acknowledged it, also of those before an error.
    pub(super) async fn publish(
        &mut self,
        messages: &[Waiting],
        acknowledged: &mut Vec<bool>,
    ) -> io::Result<()> {
        acknowledged.resize(messages.len(), false);
        let ids: Vec<u16> = messages.iter().map(|_| self.next_id()).collect();
        let packets: Vec<Packet> = ids
            .iter()
            .zip(messages)
            .map(|(id, Waiting { message, .. })| {
                let (topic, payload) = (message.topic.as_str(), message.payload.as_slice());
                let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
                publish.pkid = *id;
                Packet::Publish(publish)
            })
            .collect();
        // The broker may have closed after some of them, and acknowledged those before.
        let written = self.write(&packets).await;
        while acknowledged.contains(&false) {
            let packet = match (self.read().await, &written) {
                (Ok(packet), _) => packet,
                (Err(why), Ok(())) => return Err(why),
                (Err(_), Err(_)) => break,
            };
            let Packet::PubAck(ack) = packet else {
                return Err(unexpected());
            };
            // Else it was acknowledged before, or is none of ours.
            let at = ids.iter().position(|id| *id == ack.pkid);
            if let Some(acknowledged) = at.and_then(|at| acknowledged.get_mut(at)) {
                *acknowledged = true;
            }
        }
        written
    }

    /// 0 is no id.
    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    async fn write(&mut self, packets: &[Packet]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, usize::MAX).map_err(wrong)?;
        }
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    async fn read(&mut self) -> io::Result<Packet> {
        loop {
            match Packet::read(&mut self.received, MOST_READ) {
                Err(Error::InsufficientBytes(_)) => {}
                packet => return packet.map_err(wrong),
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                let why = "the broker closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
        }
    }
}

fn wrong(why: Error) -> io::Error {
    io::Error::other(format!("MQTT: {why}"))
}

fn unexpected() -> io::Error {
    io::Error::other("the broker sent an unexpected packet")
}
