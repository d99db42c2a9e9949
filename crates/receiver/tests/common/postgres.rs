//! A PostgreSQL server in a directory of its own, which goes with its test.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::{self, Runtime};
use tokio_postgres::{Client, NoTls, Row};

use super::PATIENCE;

pub struct Server {
    dir: TempDir,
    /// Of its log, apart from what may be full.
    logs: TempDir,
    postmaster: Option<Child>,
    /// Who must not be root.
    user: Option<(u32, u32)>,
    settings: Vec<String>,
    /// It is in the name of its socket, too.
    port: u16,
}

pub struct Session(Runtime, Client);

impl Session {
    pub fn execute(&self, sql: &str) {
        self.0.block_on(self.1.batch_execute(sql)).unwrap();
    }
}

impl Server {
    pub fn start() -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), &[], 5432)
    }

    /// Its directory is on this disk, of which its log of transactions takes little.
    #[cfg(target_os = "linux")]
    pub fn start_on(disk: &super::disk::Disk) -> Server {
        let settings = [
            "min_wal_size=32MB".to_owned(),
            "max_wal_size=64MB".to_owned(),
        ];
        // For who must not be root.
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Server::start_in(TempDir::new_in(disk.path()).unwrap(), &settings, 5432)
    }

    /// One that takes connections by TLS alone, on a port of 127.0.0.1, but for its own socket.
    pub fn start_tls(certificate: &str, key: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        for (name, content) in [
            ("cert.pem", certificate),
            ("key.pem", key),
            (
                "hba",
                "local all all trust\nhostssl all all 127.0.0.1/32 trust\n",
            ),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = other_than_root() {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        let settings = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", path("cert.pem")),
            format!("ssl_key_file={}", path("key.pem")),
            format!("hba_file={}", path("hba")),
        ];
        Server::start_in(dir, &settings, port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn start_in(dir: TempDir, settings: &[String], port: u16) -> Server {
        let user = other_than_root();
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).unwrap();
        }
        let mut server = Server {
            dir,
            logs: tempfile::tempdir().unwrap(),
            postmaster: None,
            user,
            settings: settings.to_vec(),
            port,
        };
        let made = server
            .command("initdb")
            .args([
                "--pgdata=data",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        server.run();
        server
    }

    /// Starts it again after [`kill`](Self::kill).
    pub fn run(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let mut command = self.command("postgres");
        command
            .args(["-D", "data", "-k"])
            .arg(self.dir.path())
            .args(["-c", "listen_addresses=", "-c", "max_connections=50"])
            .args(["-c", "shared_buffers=64MB", "-c", "restart_after_crash=off"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stderr(log);
        self.postmaster = Some(command.spawn().unwrap());
        let until = Instant::now() + PATIENCE;
        while let Err(why) = self.try_connect() {
            assert!(
                Instant::now() < until,
                "PostgreSQL does not start: {why:?}: {}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether it takes connections.
    pub fn lives(&self) -> bool {
        self.try_connect().is_ok()
    }

    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.logs.path().join("log")
    }

    /// SIGKILL to the postmaster and each of its children, as when the machine loses its power, but for what the system has in its cache.
    pub fn kill(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else {
            return;
        };
        let pid = postmaster.id();
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let pids: Vec<String> = children
            .split_whitespace()
            .map(str::to_owned)
            .chain([pid.to_string()])
            .collect();
        let _ = Command::new("kill")
            .arg("-9")
            .args(&pids)
            .stderr(Stdio::null())
            .status();
        let _ = postmaster.wait();
        // A child that still runs holds the shared memory, and the next start waits for it.
        while pids
            .iter()
            .any(|pid| Path::new(&format!("/proc/{pid}/exe")).exists())
        {
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn url(&self) -> String {
        let dir = self.dir.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://postgres@{dir}:{}/postgres", self.port)
    }

    /// Where its socket is.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The first column of each row.
    pub fn ask<T: for<'r> tokio_postgres::types::FromSql<'r>>(&self, sql: &str) -> Vec<T> {
        let Session(runtime, client) = self.session();
        let rows: Vec<Row> = runtime.block_on(client.query(sql, &[])).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub fn execute(&self, sql: &str) {
        self.session().execute(sql);
    }

    pub fn session(&self) -> Session {
        self.try_connect().unwrap()
    }

    fn try_connect(&self) -> Result<Session, tokio_postgres::Error> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })?;
        Ok(Session(runtime, client))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(installed(program));
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps PostgreSQL's programs out of the path.
pub fn installed(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut directories: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin")).collect();
    directories.sort();
    directories.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    directories
        .iter()
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!("PostgreSQL's `{program}` is not there: on Debian, `apt-get install postgresql`")
        })
}

fn other_than_root() -> Option<(u32, u32)> {
    let id = |args: &[&str]| {
        let said = Command::new("id").args(args).output().unwrap();
        String::from_utf8(said.stdout)
            .unwrap()
            .trim()
            .parse::<u32>()
            .ok()
    };
    let missing = "PostgreSQL does not run as root, and there is no user `postgres`: `useradd --system postgres`";
    (id(&["-u"]) == Some(0)).then(|| {
        (
            id(&["-u", "postgres"]).expect(missing),
            id(&["-g", "postgres"]).expect(missing),
        )
    })
}
