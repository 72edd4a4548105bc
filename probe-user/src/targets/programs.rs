//! What a process is called by the person who started it, told from its command line: `shop` and
//! not `python3.11`.

use std::path::{Component, Path};

use super::process::Process;

/// Languages whose executable says nothing about the program, by the beginning of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interpreter {
    Python,
    Ruby,
    Script,
    Node,
    Java,
    Dotnet,
    Beam,
}

fn interpreter(program: &str) -> Option<Interpreter> {
    // `python3.11`, `ruby3.1`, `php8.2`, but not `phpfpm-exporter`.
    let stem = program.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    match stem {
        "python" | "pypy" => Some(Interpreter::Python),
        "ruby" | "jruby" | "truffleruby" => Some(Interpreter::Ruby),
        "php" | "perl" => Some(Interpreter::Script),
        "node" | "nodejs" | "deno" | "bun" => Some(Interpreter::Node),
        "java" => Some(Interpreter::Java),
        "dotnet" => Some(Interpreter::Dotnet),
        _ if program == "beam.smp" => Some(Interpreter::Beam),
        _ => None,
    }
}

/// Names that every project has.
const GENERIC: &[&str] = &[
    "main",
    "__main__",
    "app",
    "application",
    "server",
    "index",
    "asgi",
    "wsgi",
    "manage",
    "run",
    "start",
    "cli",
    "web",
    "api",
    "service",
    "bootstrap",
    "launcher",
    "artisan",
    "config",
    "dev",
    "program",
];

/// Folders that every host or every project has.
const GENERIC_FOLDERS: &[&str] = &[
    "root",
    "home",
    "srv",
    "opt",
    "usr",
    "var",
    "www",
    "html",
    "tmp",
    "app",
    "src",
    "bin",
    "sbin",
    "dist",
    "build",
    "lib",
    "libexec",
    "share",
    "local",
    "current",
    "code",
    "workspace",
    "work",
    "public",
    "releases",
    "data",
    "site-packages",
    "target",
    "out",
    "backend",
    "server",
    "web",
    "api",
    "etc",
    "run",
    "proc",
];

/// Python programs that run another one given as `package.module:object`.
const PYTHON_LAUNCHERS: &[&str] = &[
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "daphne",
    "granian",
    "waitress-serve",
    "flask",
    "fastapi",
    "uwsgi",
    "sanic",
    "litestar",
];

/// Programs that run whatever the working directory holds.
const FOLDER_LAUNCHERS: &[&str] = &[
    "puma",
    "unicorn",
    "unicorn_rails",
    "rackup",
    "rails",
    "thin",
    "falcon",
    "bundle",
    "passenger",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "next",
    "nuxt",
    "nuxi",
    "vite",
    "remix-serve",
    "nodemon",
    "tsx",
    "ts-node",
    "next-server",
];

/// The script or module that an interpreter runs, such as `supervisord` or `http.server`; `None`
/// for a program that needs no interpreter.
pub fn script(process: &Process) -> Option<String> {
    let language = interpreter(process.program())?;
    let (target, _) = target(language, arguments(process))?;
    Some(match target {
        Target::Module(module) => module.to_owned(),
        Target::File(path) => stem(path).to_owned(),
    })
}

/// The name of the program: the executable's own, or what an interpreter runs.
pub fn name(process: &Process) -> String {
    let program = process.program();
    let cwd = process.cwd.as_deref();
    let name = match interpreter(program) {
        Some(Interpreter::Java) => java(arguments(process)),
        Some(Interpreter::Beam) => beam(arguments(process)),
        Some(language) => titled(process)
            .or_else(|| interpreted(language, arguments(process), cwd))
            .or_else(|| cwd.and_then(folder).map(str::to_owned)),
        None => None,
    };
    name.unwrap_or_else(|| match process.cmdline.first().map(String::as_str) {
        // Nothing but a title that the program gave itself.
        Some(title) if interpreter(program).is_some() && process.cmdline.len() == 1 => title
            .split([' ', ':'])
            .next()
            .map(stem)
            .unwrap_or(program)
            .to_owned(),
        _ => program.to_owned(),
    })
}

fn arguments(process: &Process) -> &[String] {
    process.cmdline.get(1..).unwrap_or_default()
}

/// Names in titles that servers give themselves: `gunicorn: master [shop.wsgi]`,
/// `puma 6.4 (tcp://0.0.0.0:3000) [shop]`.
fn titled(process: &Process) -> Option<String> {
    let title = process.cmdline.first()?;
    if !title.starts_with("gunicorn: ") && !title.starts_with("puma") {
        return None;
    }
    let (_, rest) = title.split_once('[')?;
    let (inside, _) = rest.split_once(']')?;
    let module = inside.split(':').next().unwrap_or(inside);
    specific(module)
        .or_else(|| process.cwd.as_deref().and_then(folder))
        .map(str::to_owned)
        .or_else(|| Some(module.to_owned()))
}

/// What an interpreter was told to run.
enum Target<'a> {
    Module(&'a str),
    File(&'a str),
}

/// The target, and the arguments that are its own.
fn target(language: Interpreter, arguments: &[String]) -> Option<(Target<'_>, &[String])> {
    let (with_value, words): (&[&str], &[&str]) = match language {
        Interpreter::Python => (&["-W", "-X", "--check-hash-based-pycs"], &[]),
        Interpreter::Ruby => (&["-I", "-r", "-C", "-E"], &[]),
        Interpreter::Script => (&["-d", "-c", "-S", "-t", "-I"], &[]),
        Interpreter::Node => (
            &[
                "-r",
                "--require",
                "--import",
                "--loader",
                "--experimental-loader",
                "--env-file",
                "-C",
                "--conditions",
                "--config",
                "-c",
            ],
            &["run", "serve", "exec", "x"],
        ),
        Interpreter::Dotnet => (&["--project", "-p", "-c", "-f"], &["exec", "run", "watch"]),
        Interpreter::Java | Interpreter::Beam => return None,
    };
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        rest = after;
        match argument.as_str() {
            "-m" if language == Interpreter::Python => {
                let (module, own) = rest.split_first()?;
                return Some((Target::Module(module), own));
            }
            // A program given as text has no name.
            "-c" | "-e" | "--eval" | "-p" if !with_value.contains(&argument.as_str()) => {
                return None;
            }
            option if with_value.contains(&option) => rest = rest.get(1..).unwrap_or_default(),
            option if option.starts_with('-') => {}
            word if words.contains(&word) => {}
            file => return Some((Target::File(file), rest)),
        }
    }
    None
}

fn interpreted(language: Interpreter, arguments: &[String], cwd: Option<&Path>) -> Option<String> {
    let (target, own) = target(language, arguments)?;
    let launcher = match target {
        Target::Module(module) => module,
        Target::File(path) => stem(path),
    };
    if PYTHON_LAUNCHERS.contains(&launcher) {
        let module = application(own);
        return module
            .and_then(specific)
            .or_else(|| cwd.and_then(folder))
            .or(module)
            .or(Some(launcher))
            .map(str::to_owned);
    }
    match target {
        // Python's own; its last part says what it is.
        Target::Module("http.server") => Some("http.server".to_owned()),
        Target::Module(module) => specific(module)
            .or_else(|| cwd.and_then(folder))
            .or(Some(module))
            .map(str::to_owned),
        Target::File(path) => Some(file_name(path, cwd)),
    }
}

/// The application among a launcher's arguments: `package.module:object`, `--app package`, or a
/// bare module as the first or the last of them.
fn application(arguments: &[String]) -> Option<&str> {
    let after_flag = arguments
        .windows(2)
        .find_map(|pair| match pair {
            [flag, value] if matches!(flag.as_str(), "--app" | "-A" | "--module") => Some(value),
            _ => None,
        })
        .map(String::as_str);
    let with_object = arguments.iter().find_map(|argument| {
        let (module, object) = argument.split_once(':')?;
        (is_module(module) && object.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
            .then_some(module)
    });
    let bare = || {
        // `fastapi run shop/main.py` and `flask run` have a verb first.
        let own: Vec<&String> = arguments
            .iter()
            .skip_while(|word| matches!(word.as_str(), "run" | "dev"))
            .collect();
        let file = own
            .first()
            .filter(|word| word.ends_with(".py"))
            .map(|path| folder_or_stem(path));
        let before_last = own.len().checked_sub(2).and_then(|at| own.get(at));
        let last_is_value = before_last.is_some_and(|word| word.starts_with('-'));
        let last = own.last().filter(|_| !last_is_value);
        file.or_else(|| {
            own.first()
                .into_iter()
                .chain(last)
                .map(|word| word.as_str())
                .find(|word| is_module(word))
        })
    };
    let flag = after_flag.map(|value| value.split(':').next().unwrap_or(value));
    flag.or(with_object).or_else(bare)
}

fn is_module(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
}

/// The module without its generic ends: `shop.wsgi` is `shop`; `None` when nothing is left.
fn specific(module: &str) -> Option<&str> {
    let mut rest = module;
    loop {
        let (before, last) = rest.rsplit_once('.').unwrap_or(("", rest));
        if !is_generic(last) {
            return (!rest.is_empty()).then_some(rest);
        }
        rest = before;
        if rest.is_empty() {
            return None;
        }
    }
}

fn is_generic(name: &str) -> bool {
    GENERIC
        .iter()
        .any(|generic| generic.eq_ignore_ascii_case(name))
}

/// The name of a script: its own, or for a generic one that of the project's folder.
fn file_name(path: &str, cwd: Option<&Path>) -> String {
    // What a package manager installed runs the project around it, or is a tool of its own.
    let (path, package) = match path.split_once("/node_modules/") {
        Some((project, inside)) => {
            let inside = inside.strip_prefix(".bin/").unwrap_or(inside);
            (project, inside.split('/').next())
        }
        None => (path, None),
    };
    let own = stem(path);
    let full = cwd.map_or_else(|| Path::new(path).to_owned(), |cwd| cwd.join(path));
    if let Some(package) = package {
        return folder(&full).unwrap_or(package).to_owned();
    }
    if FOLDER_LAUNCHERS.contains(&own) {
        return cwd.and_then(folder).unwrap_or(own).to_owned();
    }
    if !is_generic(own) {
        return own.to_owned();
    }
    full.parent()
        .and_then(folder)
        .or_else(|| cwd.and_then(folder))
        .unwrap_or(own)
        .to_owned()
}

fn folder_or_stem(path: &str) -> &str {
    let own = stem(path);
    if is_generic(own) {
        Path::new(path).parent().and_then(folder).unwrap_or(own)
    } else {
        own
    }
}

/// The innermost folder of a path whose name says something.
fn folder(path: &Path) -> Option<&str> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str()?),
            Component::ParentDir => {
                names.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    while let Some(name) = names.pop() {
        // A user's home is named after the user, and a release after its date.
        let is_home = names.as_slice() == ["home"];
        let is_number = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if !GENERIC_FOLDERS.contains(&name) && !is_home && !is_number {
            return Some(name);
        }
    }
    None
}

/// The file's name without the suffix of a source or an archive.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((
            stem,
            "py" | "pyz" | "pyc" | "js" | "mjs" | "cjs" | "ts" | "mts" | "tsx" | "rb" | "ru"
            | "php" | "pl" | "psgi" | "jar" | "war" | "dll" | "exe",
        )) if !stem.is_empty() => stem,
        _ => name,
    }
}

fn java(arguments: &[String]) -> Option<String> {
    const WITH_VALUE: &[&str] = &[
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--add-modules",
        "--add-opens",
        "--add-exports",
        "--add-reads",
        "--upgrade-module-path",
    ];
    let named = |prefix: &str| {
        let value = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix(prefix));
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let by_property =
        named("-Dspring.application.name=").or_else(|| named("--spring.application.name="));
    if by_property.is_some() {
        return by_property;
    }
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        rest = after;
        match argument.as_str() {
            "-jar" => {
                return rest
                    .first()
                    .map(|jar| without_version(stem(jar)).to_owned());
            }
            "-m" | "--module" => {
                let module = rest.first()?;
                return Some(module.split('/').next().unwrap_or(module).to_owned());
            }
            option if WITH_VALUE.contains(&option) => rest = rest.get(1..).unwrap_or_default(),
            option if option.starts_with(['-', '@']) => {}
            "org.apache.catalina.startup.Bootstrap" => return Some("tomcat".to_owned()),
            class => {
                let (package, simple) = class.rsplit_once('.').unwrap_or(("", class));
                let parent = package.rsplit('.').next().filter(|name| !name.is_empty());
                return Some(match parent {
                    Some(parent) if is_generic(simple) => parent.to_owned(),
                    _ => simple.to_owned(),
                });
            }
        }
    }
    None
}

/// `shop-1.4.2-SNAPSHOT` is `shop`.
fn without_version(name: &str) -> &str {
    let version = name.match_indices('-').find(|(at, _)| {
        name.get(at + 1..)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    version
        .and_then(|(at, _)| name.get(..at))
        .filter(|name| !name.is_empty())
        .unwrap_or(name)
}

fn beam(arguments: &[String]) -> Option<String> {
    let node = arguments.windows(2).find_map(|pair| match pair {
        [flag, value] if matches!(flag.as_str(), "-sname" | "-name" | "--sname" | "--name") => {
            Some(value)
        }
        _ => None,
    })?;
    Some(node.split('@').next().unwrap_or(node).to_owned())
}

#[cfg(test)]
mod tests;
