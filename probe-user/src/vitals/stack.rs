//! Reads the stacks that browsers write: V8's (Chrome, Edge, Node) and that of Firefox and Safari.
//!
//! No standard says what `Error.prototype.stack` is. Pure: text in, frames out.

/// Frames that are read of one stack.
const MAX_FRAMES: usize = 50;
/// Lines that are looked at.
const MAX_LINES: usize = 200;

/// One call on a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Name of the function as the browser writes it, without what is not part of it.
    pub function: Option<&'a str>,
    /// Address of the script; empty when it is the browser's own code.
    pub file: &'a str,
    /// Line in it, from 1.
    pub line: Option<u32>,
    /// Column in that, from 1.
    pub column: Option<u32>,
}

/// The frames of a stack, innermost first; lines that are none are left out.
pub fn frames(stack: &str) -> Vec<Frame<'_>> {
    let lines = || stack.lines().take(MAX_LINES).map(str::trim);
    // The message comes first in V8's, and may look like anything.
    let v8 = lines().any(|line| line.starts_with("at "));
    lines()
        .filter_map(|line| match v8 {
            true => v8_frame(line.strip_prefix("at ")?),
            false => gecko_frame(line),
        })
        .take(MAX_FRAMES)
        .collect()
}

/// `function (file:line:column)` or `file:line:column`.
fn v8_frame(text: &str) -> Option<Frame<'_>> {
    let text = text.strip_prefix("async ").unwrap_or(text);
    let Some(inside) = text.strip_suffix(')') else {
        return Some(place(None, text));
    };
    let (function, at) = match inside.split_once(" (") {
        Some((function, at)) => (Some(function), at),
        None => (None, inside.strip_prefix('(')?),
    };
    let function = function.and_then(v8_function);
    match at.strip_prefix("eval at ") {
        // `eval at outer (file:1:2), <anonymous>:3:4`: where that was called is in a file.
        Some(outer) => {
            let outer = outer.rsplit_once("), ").map_or(outer, |(outer, _)| outer);
            let at = outer.rsplit_once('(').map_or(outer, |(_, at)| at);
            Some(place(function, at))
        }
        None => Some(place(function, at)),
    }
}

/// Without `new`, and without the second name of a method.
fn v8_function(text: &str) -> Option<&str> {
    let text = text.strip_prefix("new ").unwrap_or(text);
    let text = text.split_once(" [as ").map_or(text, |(name, _)| name);
    named(text)
}

/// `function@file:line:column`; without a function Safari leaves the `@` out.
fn gecko_frame(line: &str) -> Option<Frame<'_>> {
    let (function, at) = match line.split_once('@') {
        Some((function, at)) if !function.contains("://") => (function, at),
        _ => ("", line),
    };
    let native = at == "[native code]";
    if !native && !at.contains("://") {
        return None;
    }
    // `setTimeout handler*function`: what came before the star is how it was called.
    let function = function.rsplit_once('*').map_or(function, |(_, name)| name);
    let function = match function {
        "global code" | "module code" | "eval code" | "anonymous" => None,
        _ => named(function),
    };
    if native {
        return Some(place(function, ""));
    }
    // `file line 3 > eval:1:1`: the line in the file is the first one.
    match at.split_once(" line ") {
        Some((file, rest)) => {
            let digits = rest.split(' ').next().unwrap_or_default();
            Some(Frame {
                function,
                file,
                line: digits.parse().ok(),
                column: None,
            })
        }
        None => Some(place(function, at)),
    }
}

fn named(text: &str) -> Option<&str> {
    let text = text.trim();
    let nameless = ["", "<anonymous>", "Object.<anonymous>", "eval", "anonymous"];
    (!nameless.contains(&text)).then_some(text)
}

/// Splits `file:line:column`.
fn place<'a>(function: Option<&'a str>, at: &'a str) -> Frame<'a> {
    let number = |text: &str| text.parse::<u32>().ok();
    let last = at
        .rsplit_once(':')
        .and_then(|(rest, text)| Some((rest, number(text)?)));
    let (file, line, column) = match last {
        None => (at, None, None),
        Some((rest, last)) => {
            let before = rest
                .rsplit_once(':')
                .and_then(|(rest, text)| Some((rest, number(text)?)));
            match before {
                Some((file, line)) => (file, Some(line), Some(last)),
                None => (rest, Some(last), None),
            }
        }
    };
    let own_code = matches!(
        file,
        "<anonymous>" | "native" | "[native code]" | "native code"
    );
    Frame {
        function,
        file: if own_code { "" } else { file },
        line: line.filter(|_| !own_code),
        column: column.filter(|_| !own_code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stack: &str) -> Vec<(String, String, u32, u32)> {
        frames(stack)
            .into_iter()
            .map(|frame| {
                (
                    frame.function.unwrap_or("-").to_owned(),
                    frame.file.to_owned(),
                    frame.line.unwrap_or(0),
                    frame.column.unwrap_or(0),
                )
            })
            .collect()
    }

    fn rows(rows: &[(&str, &str, u32, u32)]) -> Vec<(String, String, u32, u32)> {
        let owned = |row: &(&str, &str, u32, u32)| (row.0.into(), row.1.into(), row.2, row.3);
        rows.iter().map(owned).collect()
    }

    #[test]
    fn chrome_s_stacks_are_read() {
        let stack = "TypeError: Cannot read properties of undefined (reading 'total') at all\n    \
             at sum (https://shop.example/js/cart.js:10:15)\n    \
             at async Cart.pay [as onclick] (https://shop.example/js/cart.js:44:3)\n    \
             at new Order (https://shop.example/js/order.js:7)\n    \
             at Array.map (<anonymous>)\n    \
             at https://cdn.example/react@18.2.0/index.js:1:99\n    \
             at eval (eval at run (https://shop.example/js/run.js:3:4), <anonymous>:1:1)\n    \
             at <anonymous>";
        assert_eq!(
            read(stack),
            rows(&[
                ("sum", "https://shop.example/js/cart.js", 10, 15),
                ("Cart.pay", "https://shop.example/js/cart.js", 44, 3),
                ("Order", "https://shop.example/js/order.js", 7, 0),
                ("Array.map", "", 0, 0),
                ("-", "https://cdn.example/react@18.2.0/index.js", 1, 99),
                ("-", "https://shop.example/js/run.js", 3, 4),
                ("-", "", 0, 0),
            ])
        );
    }

    #[test]
    fn firefox_s_stacks_are_read() {
        let stack = "sum@https://shop.example/js/cart.js:10:15\n\
             pay/<@https://shop.example/js/cart.js:44:3\n\
             setTimeout handler*start@https://shop.example/js/cart.js:50:1\n\
             @https://cdn.example/react@18.2.0/index.js:1:99\n\
             run@https://shop.example/js/run.js line 3 > eval:1:1\n";
        assert_eq!(
            read(stack),
            rows(&[
                ("sum", "https://shop.example/js/cart.js", 10, 15),
                ("pay/<", "https://shop.example/js/cart.js", 44, 3),
                ("start", "https://shop.example/js/cart.js", 50, 1),
                ("-", "https://cdn.example/react@18.2.0/index.js", 1, 99),
                ("run", "https://shop.example/js/run.js", 3, 0),
            ])
        );
    }

    #[test]
    fn safari_s_stacks_are_read() {
        let stack = "sum@https://shop.example/js/cart.js:10:15\n\
             map@[native code]\n\
             https://shop.example/js/cart.js:44:3\n\
             global code@https://shop.example/js/cart.js:50:1\n\
             [native code]";
        assert_eq!(
            read(stack),
            rows(&[
                ("sum", "https://shop.example/js/cart.js", 10, 15),
                ("map", "", 0, 0),
                ("-", "https://shop.example/js/cart.js", 44, 3),
                ("-", "https://shop.example/js/cart.js", 50, 1),
                ("-", "", 0, 0),
            ])
        );
    }

    #[test]
    fn what_is_no_stack_has_no_frames() {
        for text in [
            "",
            "at",
            "me@home",
            "Error: x\nno line of a stack",
            "@",
            "::::",
        ] {
            assert_eq!(frames(text), [], "{text}");
        }
    }

    proptest::proptest! {
        /// A page can send anything.
        #[test]
        fn no_text_makes_it_panic(text in r"(at |@|:|\(|\)|eval at |https://a/|[a-z0-9 \n]){0,60}") {
            assert!(frames(&text).len() <= MAX_FRAMES);
        }
    }
}
