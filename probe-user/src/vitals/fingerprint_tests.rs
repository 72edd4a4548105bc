//! What belongs together has one fingerprint, and what does not has its own.

use super::*;

fn with_stack<'a>(type_: &'a str, message: &'a str, stack: &'a str) -> u64 {
    fingerprint(&Told {
        type_,
        message,
        stack: Some(stack),
        ..Told::default()
    })
}

const CHROME: &str = "TypeError: Cannot read properties of null (reading 'total')\n    \
     at sum (https://shop.example/assets/cart-BX3kd92a.js:10:15)\n    \
     at Cart.pay (https://shop.example/assets/cart-BX3kd92a.js:44:3)\n    \
     at HTMLButtonElement.<anonymous> (https://shop.example/assets/main.3f2a1c9b.js:1:1)";

/// A release moves lines and gives files new names; the error stays the same one.
#[test]
fn a_new_build_does_not_make_a_new_error() {
    let built_again = CHROME
        .replace("BX3kd92a", "q0LLd7Zy")
        .replace("3f2a1c9b", "00ff12ab")
        .replace(":10:15", ":11:2")
        .replace(":44:3", ":1:8123");
    assert_eq!(
        with_stack("TypeError", "x", CHROME),
        with_stack("TypeError", "x", &built_again)
    );
}

#[test]
fn who_asks_and_when_does_not_matter() {
    for (one, other) in [
        ("user 17 is not there", "user 99123 is not there"),
        (
            "no order 0af76519-16cd-43dd-8448-eb211c80319c",
            "no order 7a3f52e0-0000-4000-8000-aabbccddeeff",
        ),
        (
            "Failed to fetch https://shop.example/api/a?x=1",
            "Failed to fetch https://other.example/b",
        ),
        (
            "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
            "Unexpected token '[', \"[1, 2\"... is not valid JSON",
        ),
        ("Uncaught TypeError: x is null", "x is null"),
        ("Uncaught (in promise) TypeError: x is null", "x is null"),
        ("commit deadbeef01 is bad", "commit 0123456789ab is bad"),
    ] {
        assert_eq!(
            with_stack("TypeError", one, CHROME),
            with_stack("TypeError", other, CHROME),
            "{one}"
        );
    }
}

#[test]
fn what_differs_is_told_apart() {
    let base = with_stack("TypeError", "x is null", CHROME);
    for (type_, message, stack) in [
        ("RangeError", "x is null", CHROME.to_owned()),
        ("TypeError", "y is null", CHROME.to_owned()),
        (
            "TypeError",
            "x is null",
            CHROME.replace("at sum", "at difference"),
        ),
        ("TypeError", "x is null", CHROME.replace("cart-", "desk-")),
        ("TypeError", "don't do x, it isn't null", CHROME.to_owned()),
    ] {
        assert_ne!(
            with_stack(type_, &message, &stack),
            base,
            "{type_} {message}"
        );
    }
    // A part between two apostrophes inside of words is no quotation.
    assert_ne!(
        with_stack("E", "don't do x, it isn't null", CHROME),
        with_stack("E", "don't do y, it isn't null", CHROME)
    );
}

/// The three browsers write the same calls differently; their messages differ in any case.
#[test]
fn the_same_calls_are_the_same_in_chrome_firefox_and_safari() {
    let chrome = "Error: m\n    at sum (https://a.example/cart.js:1:1)\n    \
         at Cart.pay (https://a.example/cart.js:2:1)";
    let firefox = "sum@https://a.example/cart.js:1:9\npay@https://a.example/cart.js:2:9\n";
    let safari = "sum@https://a.example/cart.js:1:5\nmap@[native code]\n\
         pay@https://a.example/cart.js:2:5";
    let one = with_stack("Error", "m", chrome);
    assert_eq!(with_stack("Error", "m", firefox), one);
    assert_eq!(with_stack("Error", "m", safari), one);
}

#[test]
fn frames_of_extensions_and_libraries_do_not_count() {
    let alone = "Error: m\n    at sum (https://a.example/cart.js:1:1)";
    let with_others = "Error: m\n    \
         at hook (chrome-extension://abcdef/inject.js:1:1)\n    \
         at call (webpack://shop/node_modules/react-dom/index.js:9:9)\n    \
         at Array.map (<anonymous>)\n    \
         at sum (https://a.example/cart.js:1:1)";
    assert_eq!(
        with_stack("Error", "m", alone),
        with_stack("Error", "m", with_others)
    );
}

#[test]
fn without_a_name_and_without_a_stack_the_place_counts() {
    let nameless = |line: u32| format!("@https://a.example/x.js:{line}:1");
    assert_ne!(
        with_stack("Error", "m", &nameless(1)),
        with_stack("Error", "m", &nameless(2))
    );
    let at = |line| {
        fingerprint(&Told {
            message: "Script error.",
            source: Some("https://a.example/x.js?v=3"),
            line: Some(line),
            ..Told::default()
        })
    };
    assert_ne!(at(1), at(2));
    assert_eq!(at(1), at(1));
}

#[test]
fn names_of_files_lose_what_a_bundler_adds() {
    for (address, name) in [
        ("https://a.example/js/app.js", "app.js"),
        ("https://a.example/js/app.js?v=17#x", "app.js"),
        ("https://a.example/js/app.3f2a1c9b.js", "app.js"),
        (
            "https://a.example/js/main.3f2a1c9b.chunk.js",
            "main.chunk.js",
        ),
        ("https://a.example/js/index-BX3kd92a.js", "index.js"),
        ("https://a.example/js/index-DIwrGTda.js", "index.js"),
        (
            "https://a.example/js/vendor~app.0a1b2c3d4e5f60718293.js",
            "vendor~app.js",
        ),
        // Words, versions and numbers of a person's making stay.
        (
            "https://a.example/js/jquery-3.7.1.min.js",
            "jquery-3.7.1.min.js",
        ),
        (
            "https://a.example/js/order-Controls.js",
            "order-Controls.js",
        ),
        ("https://a.example/js/facade.js", "facade.js"),
        ("https://a.example/js/my-checkout.js", "my-checkout.js"),
        ("https://a.example/", "a.example"),
        ("3f2a1c9b.js", "3f2a1c9b.js"),
        (".hidden.js", ".hidden.js"),
        ("", ""),
        ("..", ".."),
        ("--", "--"),
    ] {
        assert_eq!(file_name(address), name, "{address}");
    }
}

proptest::proptest! {
    /// A page can send anything; the same is the same again.
    #[test]
    fn any_text_has_one_fingerprint(
        type_ in ".{0,20}",
        message in r#"(['"`“”‘’]|https://|[0-9a-f]{8}|.){0,60}"#,
        stack in r"(at |@|:|\(|\)|https://a/|[a-z0-9 \n._-]|ü){0,60}",
    ) {
        assert_eq!(with_stack(&type_, &message, &stack), with_stack(&type_, &message, &stack));
        file_name(&stack);
    }
}
