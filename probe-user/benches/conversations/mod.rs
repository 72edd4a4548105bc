//! What clients and Postgres say to each other, for the benches: one short statement after the
//! other, in each of the ways that drivers send them.

/// Statements of one conversation.
pub(crate) const STATEMENTS: u64 = 1000;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

fn row_and_end() -> Vec<u8> {
    [
        message(b'D', b"\0\x01\0\0\0\x05hello"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// What is asked and what is answered, call by call.
pub(crate) type Conversation = Vec<(Vec<u8>, Vec<u8>)>;

/// By the way in which a client asks; the parameters count up from `first`. A conversation may begin
/// with what is said once, before its [`STATEMENTS`].
pub(crate) fn conversations(first: u64) -> Vec<(&'static str, Conversation)> {
    let description = message(
        b'T',
        b"\0\x01name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0",
    );
    let simple = [description.clone(), row_and_end()].concat();
    let select = "select name from item where id = ";
    let execute = message(b'E', b"\0\0\0\0\0");
    let sync = message(b'S', b"");
    let bind = |statement: &str, parameter: u64| {
        let parameter = format!("{parameter:08}");
        let body = format!("\0{statement}\0\0\0\0\x01\0\0\0\x08{parameter}\0\0");
        message(b'B', body.as_bytes())
    };
    let prepare = [
        message(b'P', format!("s1\0{select}$1\0\0\0").as_bytes()),
        sync.clone(),
    ];
    let prepared_answer = [message(b'1', b""), message(b'Z', b"I")].concat();
    let mut prepared = vec![(prepare.concat(), prepared_answer)];
    prepared.extend((first..first + STATEMENTS).map(|number| {
        let asked = [bind("s1", number), execute.clone(), sync.clone()].concat();
        (asked, [message(b'2', b""), row_and_end()].concat())
    }));
    let unnamed = (first..first + STATEMENTS).map(|number| {
        let parse = message(b'P', format!("\0{select}$1\0\0\0").as_bytes());
        let describe = message(b'D', b"P\0");
        let asked = [
            parse,
            bind("", number),
            describe,
            execute.clone(),
            sync.clone(),
        ]
        .concat();
        let begun = [message(b'1', b""), message(b'2', b""), description.clone()].concat();
        (asked, [begun, row_and_end()].concat())
    });
    let repeated = (first..first + STATEMENTS)
        .map(|number| (query(&format!("{select}{}", number % 10)), simple.clone()));
    // No text comes twice: whoever keeps fewer than all of them reads each anew.
    let literals = (first..first + STATEMENTS)
        .map(|number| (query(&format!("{select}{number}")), simple.clone()));
    vec![
        ("simple, repeated texts", repeated.collect()),
        ("simple, new literals", literals.collect()),
        ("extended, unnamed", unnamed.collect()),
        ("extended, prepared", prepared),
    ]
}
