//! What is wrong with the settings, and where a value came from.

use std::fmt;

/// The layer that set a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file.
    File(String),
    /// A variable.
    Variable(String),
    /// The command line.
    CommandLine,
}

impl Origin {
    /// `default`, `file`, `env` or `cli`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(_) => "file",
            Self::Variable(_) => "env",
            Self::CommandLine => "cli",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// One thing that is wrong. Its text is one line: key, value (a secret masked), origin, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// Everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.0.iter().map(|fault| fault.0.as_str()).collect();
        f.write_str(&lines.join("\n"))
    }
}
