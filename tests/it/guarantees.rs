//! What the page of guarantees names is there: no promise without the test that holds it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Below these stand tests.
const TESTS: [&str; 3] = ["src", "tests", "crates/bridge_core"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            // Packages of others.
            if !["node_modules", "packages", "target"].iter().any(|name| path.ends_with(name)) {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Each test's name with the modules that have one of it.
fn tests() -> HashMap<String, HashSet<String>> {
    let mut files = Vec::new();
    TESTS.iter().for_each(|dir| sources(&root().join(dir), &mut files));
    let mut tests = HashMap::<String, HashSet<String>>::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let module = file.file_stem().unwrap().to_string_lossy().into_owned();
        for name in text.split("fn ").skip(1) {
            let name = name.split(['(', '<', ' ']).next().unwrap_or_default();
            tests.entry(name.to_owned()).or_default().insert(module.clone());
        }
    }
    tests
}

fn is_there(named: &str, tests: &HashMap<String, HashSet<String>>) -> bool {
    let exists = |path: String| root().join(path).exists();
    if let Some(recipe) = named.strip_prefix("just ") {
        let recipe = recipe.split(' ').next().unwrap_or_default();
        let recipes = std::fs::read_to_string(root().join("justfile")).unwrap();
        return recipes.lines().any(|line| line.split([' ', ':']).next() == Some(recipe));
    }
    if named.contains('/') {
        return exists(named.to_owned());
    }
    // A whole file: searches of the core, or a module of tests.
    let is_file = |name: &str| {
        ["crates/bridge_core/tests/{}.rs", "crates/bridge_core/tests/{}/main.rs", "tests/it/{}.rs"]
            .iter()
            .any(|path| exists(path.replace("{}", name)))
    };
    match named.rsplit_once("::") {
        Some((module, "*")) => is_file(module),
        Some((path, name)) => {
            let module = path.rsplit("::").next().unwrap_or_default();
            tests.get(name).is_some_and(|modules| modules.contains(module))
        }
        None => tests.contains_key(named) || is_file(named),
    }
}

#[test]
fn every_guarantee_names_tests_that_are_there() {
    let page = std::fs::read_to_string(root().join("migrations-docs/guarantees.md")).unwrap();
    let tests = tests();
    let mut missing = Vec::new();
    let rows = page.lines().filter(|line| line.starts_with("| ") && *line != "| what is promised | test |");
    let mut count = 0;
    for row in rows {
        count += 1;
        let held_by = row.trim_end_matches('|').rsplit(" | ").next().unwrap_or_default();
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            missing.push(format!("no test: {row}"));
        }
        missing.extend(names.iter().filter(|name| !is_there(name, &tests)).map(|name| format!("{name}: {row}")));
    }
    assert!(count > 100, "{count} rows");
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}
