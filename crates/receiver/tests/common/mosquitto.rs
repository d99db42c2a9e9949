//! A message broker in a directory of its own, which goes with its test, and somebody who hears all that it takes.
//!
//! Publishers reach it by a gate that opens once that somebody listens: so what is not heard was not taken.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use tempfile::TempDir;

use super::PATIENCE;

/// How often each message was heard, by topic and payload.
pub type Heard = BTreeMap<(String, String), usize>;

pub struct Mosquitto {
    dir: TempDir,
    /// Lines of configuration for who publishes.
    settings: String,
    server: Option<Child>,
    gate: u16,
    /// To which port the gate leads; 0: it is closed.
    leads_to: Arc<AtomicU16>,
    heard: Arc<Mutex<Heard>>,
    /// Is told of each message as it is heard.
    witness: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Mosquitto {
    /// Not running yet.
    pub fn new(settings: &str, witness: impl Fn(&str) + Send + Sync + 'static) -> Mosquitto {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let gate = listener.local_addr().unwrap().port();
        let leads_to = Arc::new(AtomicU16::new(0));
        let to = Arc::clone(&leads_to);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Who comes while it is closed is sent away.
                if let Ok(broker) =
                    TcpStream::connect((Ipv4Addr::LOCALHOST, to.load(Ordering::SeqCst)))
                {
                    for (from, to) in [
                        (stream.try_clone(), broker.try_clone()),
                        (Ok(broker), Ok(stream)),
                    ] {
                        let (mut from, mut to) = (from.unwrap(), to.unwrap());
                        thread::spawn(move || {
                            let _ = io::copy(&mut from, &mut to);
                            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                        });
                    }
                }
            }
        });
        Mosquitto {
            dir: tempfile::tempdir().unwrap(),
            settings: settings.to_owned(),
            server: None,
            gate,
            leads_to,
            heard: Arc::default(),
            witness: Arc::new(witness),
        }
    }

    pub fn started(settings: &str) -> Mosquitto {
        let mut mosquitto = Mosquitto::new(settings, |_| {});
        mosquitto.start();
        mosquitto
    }

    /// Where publishers find it.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.gate)
    }

    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    pub fn start(&mut self) {
        let [inner, outer] = [free_port(), free_port()];
        let user = if is_root() { "user root\n" } else { "" };
        // What it takes it passes on at once: what waits in it dies with it.
        let config = format!(
            "{user}max_inflight_messages 0\nmax_queued_messages 0\nper_listener_settings true\nlistener {inner} 127.0.0.1\nallow_anonymous true\nlistener {outer} 127.0.0.1\n{}\n",
            self.settings
        );
        let path = self.dir.path().join("mosquitto.conf");
        fs::write(&path, config).unwrap();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"));
        let mut command = Command::new(installed());
        command
            .arg("-c")
            .arg(path)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log.unwrap());
        self.server = Some(command.spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        while !self.listen(inner) {
            assert!(
                Instant::now() < until,
                "mosquitto does not start: {}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
        self.leads_to.store(outer, Ordering::SeqCst);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Whether somebody listens now.
    fn listen(&self, port: u16) -> bool {
        let mut options = MqttOptions::new("listener", "127.0.0.1", port);
        options.set_max_packet_size(1 << 20, 1 << 20);
        let (client, mut connection) = Client::new(options, 10);
        client.subscribe("#", QoS::AtLeastOnce).unwrap();
        let (heard, witness) = (Arc::clone(&self.heard), Arc::clone(&self.witness));
        let (listens, listening) = mpsc::channel();
        thread::spawn(move || {
            let _client = client;
            for event in connection.iter().map_while(Result::ok) {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(listens.send(())),
                    Event::Incoming(Packet::Publish(message)) => {
                        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                        witness(&payload);
                        let key = (message.topic, payload);
                        *heard.lock().unwrap().entry(key).or_default() += 1;
                    }
                    _ => {}
                }
            }
        });
        listening.recv_timeout(PATIENCE).is_ok()
    }

    /// SIGKILL, as when its machine loses its power.
    pub fn kill(&mut self) {
        self.leads_to.store(0, Ordering::SeqCst);
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }

    /// All that was heard, once there are so many messages that differ.
    #[track_caller]
    pub fn hears(&self, count: usize) -> Heard {
        let until = Instant::now() + PATIENCE;
        while self.heard().len() < count {
            assert!(
                Instant::now() < until,
                "not {count} messages: {:?}; {}",
                self.heard(),
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
        self.heard()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps it out of the path of who is not root.
fn installed() -> PathBuf {
    let mut directories = vec![PathBuf::from("/usr/sbin")];
    directories.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let mut paths = directories
        .iter()
        .map(|directory| directory.join("mosquitto"));
    paths
        .find(|path| path.exists())
        .expect("`mosquitto` is not there: on Debian, `apt-get install mosquitto`")
}

fn is_root() -> bool {
    let said = Command::new("id").arg("-u").output().unwrap();
    said.stdout == b"0\n"
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
