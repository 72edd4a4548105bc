//! What a statement does, by the names that dashboards show.

macro_rules! operations {
    ($($variant:ident $label:literal $($word:literal)*;)*) => {
        /// The kind of a statement.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Operation {
            $(#[doc = concat!("`", $label, "`")] $variant,)*
        }

        impl Operation {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The label of metrics, in upper case as in a CommandComplete tag.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// The operation of a label; [`Self::Other`] for one that no version knows.
            pub fn of_label(label: &str) -> Self {
                match label { $($label => Self::$variant,)* _ => Self::Other }
            }

            /// The operation that a statement's first word, in lower case, announces.
            pub fn of_word(word: &[u8]) -> Option<Self> {
                $($(if word == $word.as_bytes() { return Some(Self::$variant); })*)*
                None
            }
        }
    };
}

// The frequent ones first: words are compared in this order.
operations! {
    Select "SELECT" "select" "values" "table";
    Insert "INSERT" "insert";
    Update "UPDATE" "update";
    Delete "DELETE" "delete";
    Begin "BEGIN" "begin" "start";
    Commit "COMMIT" "commit" "end";
    Rollback "ROLLBACK" "rollback" "abort";
    RollbackToSavepoint "ROLLBACK TO";
    Savepoint "SAVEPOINT" "savepoint";
    Release "RELEASE" "release";
    Merge "MERGE" "merge";
    Copy "COPY" "copy";
    Set "SET" "set";
    Reset "RESET" "reset";
    Show "SHOW" "show";
    Declare "DECLARE" "declare";
    Fetch "FETCH" "fetch";
    Move "MOVE" "move";
    Close "CLOSE" "close";
    Prepare "PREPARE" "prepare";
    Execute "EXECUTE" "execute";
    Deallocate "DEALLOCATE" "deallocate";
    Discard "DISCARD" "discard";
    Listen "LISTEN" "listen";
    Notify "NOTIFY" "notify";
    Unlisten "UNLISTEN" "unlisten";
    PrepareTransaction "PREPARE TRANSACTION";
    Create "CREATE" "create";
    Alter "ALTER" "alter";
    Drop "DROP" "drop";
    Truncate "TRUNCATE" "truncate";
    Vacuum "VACUUM" "vacuum";
    Analyze "ANALYZE" "analyze" "analyse";
    Explain "EXPLAIN" "explain";
    Call "CALL" "call";
    Do "DO" "do";
    Lock "LOCK" "lock";
    Grant "GRANT" "grant";
    Revoke "REVOKE" "revoke";
    Refresh "REFRESH" "refresh";
    Reindex "REINDEX" "reindex";
    Cluster "CLUSTER" "cluster";
    Comment "COMMENT" "comment";
    Checkpoint "CHECKPOINT" "checkpoint";
    StartReplication "START_REPLICATION" "start_replication";
    Other "OTHER";
}

/// Finds the operation from the words that stand outside of parentheses; told as they come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Classifier {
    found: Option<Operation>,
    state: State,
    words: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    /// After `WITH`: the verb stands behind the last parenthesis, never behind a comma.
    With,
    /// After `EXPLAIN`: its options, then what it explains.
    Explain,
    /// After `ROLLBACK` or `PREPARE`, whose second word decides.
    Second,
    Done,
}

impl Classifier {
    /// A word at the statement's own level, in lower case, and whether a name may stand there.
    pub(super) fn word(&mut self, word: &[u8], name_expected: bool) {
        self.words = self.words.saturating_add(1);
        match self.state {
            State::Start => self.first(word),
            State::With if !name_expected => {
                if let Some(operation) = main_verb(word) {
                    self.found = Some(operation);
                    self.state = State::Done;
                }
            }
            State::Explain => {
                if word == b"with" {
                    self.state = State::With;
                } else if !matches!(word, b"analyze" | b"analyse" | b"verbose") {
                    self.state = State::Start;
                    self.first(word);
                }
            }
            State::Second => self.second(word),
            State::With | State::Done => {}
        }
    }

    fn first(&mut self, word: &[u8]) {
        self.state = State::Done;
        if word == b"with" {
            self.found = Some(Operation::Select);
            self.state = State::With;
            return;
        }
        self.found = Some(Operation::of_word(word).unwrap_or(Operation::Other));
        match self.found {
            Some(Operation::Explain) => self.state = State::Explain,
            Some(Operation::Rollback | Operation::Prepare) => {
                self.state = State::Second;
            }
            _ => {}
        }
    }

    fn second(&mut self, word: &[u8]) {
        match (self.found, word) {
            (Some(Operation::Rollback), b"work" | b"transaction") => return,
            (Some(Operation::Rollback), b"to") => {
                self.found = Some(Operation::RollbackToSavepoint);
            }
            (Some(Operation::Prepare), b"transaction") => {
                self.found = Some(Operation::PrepareTransaction);
            }
            _ => {}
        }
        self.state = State::Done;
    }

    /// What the words so far say; `Other` for none.
    pub(super) fn operation(&self) -> Operation {
        self.found.unwrap_or(Operation::Other)
    }

    /// Whether the statement's first word has not come yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.words == 0
    }

    /// Whether nothing that comes can change the answer.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }
}

/// The verbs that may follow `WITH`.
fn main_verb(word: &[u8]) -> Option<Operation> {
    match word {
        b"select" | b"values" | b"table" => Some(Operation::Select),
        b"insert" => Some(Operation::Insert),
        b"update" => Some(Operation::Update),
        b"delete" => Some(Operation::Delete),
        b"merge" => Some(Operation::Merge),
        _ => None,
    }
}
