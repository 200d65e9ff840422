//! The configuration that the demo runs from: `weir.yaml` and one rule, in a temporary folder.
//!
//! Law: the folder is this demo's alone, readable by its user only, and gone when this is dropped. The files are what a
//! user would write by hand, so that editing them works as in earnest.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Who listens where.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The proxy's split listener.
    pub proxy: SocketAddr,
    /// The proxy's admin.
    pub admin: SocketAddr,
    /// The proxy's metrics.
    pub metrics: SocketAddr,
    /// The model servers of v1 and v2, each by gRPC and by REST.
    pub models: [(SocketAddr, SocketAddr); 2],
}

/// The folder, until it is dropped.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Writes the files into a new folder beside other temporary ones.
    ///
    /// # Errors
    /// When the temporary folder cannot be written to.
    pub fn write(addresses: &Addresses) -> io::Result<Self> {
        let files = Self { folder: new_folder(&std::env::temp_dir())? };
        fs::create_dir(files.folder.join("rules"))?;
        fs::write(files.config(), config_text(addresses))?;
        fs::write(files.rule(), RULE)?;
        Ok(files)
    }

    /// The folder itself.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `weir.yaml`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("weir.yaml")
    }

    /// The rule that splits 95 to 5.
    #[must_use]
    pub fn rule(&self) -> PathBuf {
        self.folder.join("rules").join("canary.yaml")
    }

    /// A shell line that edits the rule to 50 and 50.
    #[must_use]
    pub fn edit_line(&self) -> String {
        // With a suffix, -i works for GNU's sed and BSD's; the copy it leaves is no rule file.
        format!(
            "sed -i.bak 's/weight: 95/weight: 50/; s/weight: 5$/weight: 50/' {}",
            shell_word(&self.rule())
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Err(fault) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %fault, "cannot remove the demo's folder: remove it by hand");
        }
    }
}

/// Several demos may start at once, and a process id may come again: the first free name is taken.
fn new_folder(parent: &Path) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    let mut tried = 0_u32;
    loop {
        let suffix = if tried == 0 { String::new() } else { format!("-{tried}") };
        let folder = parent.join(format!("weir-demo-{}{suffix}", std::process::id()));
        match builder.create(&folder) {
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists && tried < 1000 => tried += 1,
            created => return created.map(|()| folder),
        }
    }
}

fn config_text(addresses: &Addresses) -> String {
    let Addresses { proxy, admin, metrics, models: [v1, v2] } = addresses;
    format!(
        "# Written by `weir demo`, and removed when it ends.
admin:
  address: \"{admin}\"
  metrics_address: \"{metrics}\"

listeners:
- name: predict
  address: \"{proxy}\"
  service: half-plus-two
  mode: split

services:
- name: half-plus-two
  namespace: default
  endpoints:
  - {{grpc: \"{}\", http: \"{}\", labels: {{version: v1}}}}
  - {{grpc: \"{}\", http: \"{}\", labels: {{version: v2}}}}

rules:
- rules/
",
        v1.0, v1.1, v2.0, v2.1
    )
}

const RULE: &str = "apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata:
  name: canary
  namespace: default
spec:
  destination:
    name: half-plus-two
  route:
  - labels:
      version: v1
    weight: 95
  - labels:
      version: v2
    weight: 5
";

fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    fn files() -> Files {
        let addr = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let models = [(addr(4), addr(5)), (addr(6), addr(7))];
        Files::write(&Addresses { proxy: addr(1), admin: addr(2), metrics: addr(3), models }).unwrap()
    }

    #[test]
    fn the_folder_is_its_users_alone_and_gone_when_dropped() {
        let (first, second) = (files(), files());
        assert_ne!(first.folder(), second.folder());
        let mode = fs::metadata(first.folder()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let folder = first.folder().to_owned();
        drop(first);
        assert!(!folder.exists());
        assert!(second.rule().exists());
    }

    #[test]
    fn the_edit_line_turns_95_to_5_into_50_to_50_and_may_be_run_twice() {
        let files = files();
        for _ in 0..2 {
            assert!(Command::new("sh").arg("-c").arg(files.edit_line()).status().unwrap().success());
            let rule = fs::read_to_string(files.rule()).unwrap();
            let expected = RULE.replace("weight: 95", "weight: 50").replace("weight: 5\n", "weight: 50\n");
            assert_eq!(rule, expected);
        }
    }

    #[test]
    fn the_configuration_names_every_address() {
        let text = fs::read_to_string(files().config()).unwrap();
        for port in 1..=7 {
            assert!(text.contains(&format!("\"127.0.0.1:{port}\"")), "port {port} is missing in\n{text}");
        }
    }

    #[test]
    fn a_path_with_blanks_or_quotes_is_one_shell_word() {
        assert_eq!(shell_word(Path::new("/tmp/weir-demo-1")), "/tmp/weir-demo-1");
        assert_eq!(shell_word(Path::new("/my tmp/it's")), r"'/my tmp/it'\''s'");
    }
}
