//! The image.

use std::collections::BTreeMap;

use super::read;

/// What the Dockerfile says of the image.
pub(super) struct Image {
    pub(super) env: BTreeMap<String, String>,
    pub(super) args: Vec<String>,
    pub(super) health: Vec<String>,
}

pub(super) fn image() -> Image {
    let file = read("Dockerfile").replace("\\\n", " ");
    let last = file.rsplit("\nFROM ").next().unwrap();
    let list = |word: &str| -> Vec<String> {
        let line = last.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("no {word}"));
        serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap()
    };
    let env = last.lines().filter_map(|line| line.strip_prefix("ENV ")).flat_map(str::split_whitespace);
    let env = env.map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.into(), value.into()));
    let (entry, cmd, health) = (list("ENTRYPOINT"), list("CMD"), list("HEALTHCHECK"));
    assert_eq!(entry, ["/usr/local/bin/updates-bridge"]);
    assert!(last.contains("USER 65532:65532") && last.contains("COPY config /etc/updates-bridge"));
    Image { env: env.collect(), args: cmd, health }
}
