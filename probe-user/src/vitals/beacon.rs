//! What a browser says at once, checked and bounded. Made by [`parse`](super::parse), and by what
//! reads other senders' formats.

/// Defines an enum of words that browsers send, and how they are written.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Reads the word; `None` for any other.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// All words, for messages.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];
        }
    };
}

words! {
    /// A vital of the web-vitals library.
    VitalName {
        /// Largest Contentful Paint.
        Lcp = "LCP",
        /// Interaction to Next Paint.
        Inp = "INP",
        /// Cumulative Layout Shift; has no unit.
        Cls = "CLS",
        /// First Contentful Paint.
        Fcp = "FCP",
        /// Time to First Byte.
        Ttfb = "TTFB",
        /// First Input Delay, of versions of the library before 5. It is no INP: only the delay of
        /// one interaction.
        Fid = "FID",
    }
}

words! {
    /// How a value is judged by the official thresholds.
    Rating {
        /// Within the first threshold.
        Good = "good",
        /// Within the second.
        NeedsImprovement = "needs-improvement",
        /// Beyond.
        Poor = "poor",
    }
}

words! {
    /// Class of the device.
    Device {
        /// A phone.
        Mobile = "mobile",
        /// A tablet.
        Tablet = "tablet",
        /// Anything larger.
        Desktop = "desktop",
        /// It did not say.
        Unknown = "unknown",
    }
}

words! {
    /// Effective type of the connection (Network Information API).
    Connection {
        /// Worse than 2g.
        Slow2g = "slow-2g",
        /// 2g.
        TwoG = "2g",
        /// 3g.
        ThreeG = "3g",
        /// 4g or better.
        FourG = "4g",
        /// It did not say.
        Unknown = "unknown",
    }
}

words! {
    /// How the user came to the page.
    Navigation {
        /// By a link or address.
        Navigate = "navigate",
        /// By loading it again.
        Reload = "reload",
        /// By going back or forward.
        BackForward = "back-forward",
        /// By going back or forward to a page that was kept.
        BackForwardCache = "back-forward-cache",
        /// It was rendered before.
        Prerender = "prerender",
        /// By a discarded tab.
        Restore = "restore",
        /// Within the page.
        SoftNavigation = "soft-navigation",
        /// It did not say.
        Unknown = "unknown",
    }
}

words! {
    /// How an error came to the window.
    ErrorKind {
        /// The `error` event.
        Error = "error",
        /// The `unhandledrejection` event.
        UnhandledRejection = "unhandledrejection",
    }
}

words! {
    /// Why a call of a page's script is told of.
    CallReason {
        /// The server answered with an error.
        Status = "status",
        /// There was no answer.
        Network = "network",
        /// The script's own time-out.
        Timeout = "timeout",
        /// The script gave up.
        Aborted = "aborted",
        /// It took long.
        Slow = "slow",
    }
}

words! {
    /// Type of a file that a page loads.
    ResourceType {
        /// A script.
        Script = "script",
        /// A style sheet.
        Css = "css",
        /// An image.
        Image = "image",
        /// A font.
        Font = "font",
        /// What a script asked for.
        Fetch = "fetch",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// What a user did.
    ActionKind {
        /// Clicked on a marked element.
        Click = "click",
        /// Sent a marked form.
        Submit = "submit",
        /// Went to another view of a single-page app.
        Route = "route",
    }
}

/// What one browser says at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Beacon {
    /// Lives in the memory of the page; empty when it does not say.
    pub session: String,
    /// Path of the page, without query and fragment; `None` when nobody says it.
    pub page: Option<String>,
    /// What the page calls itself, or empty.
    pub app: String,
    /// Release of the page, or empty.
    pub release: String,
    /// Class of the device.
    pub device: Device,
    /// Type of the connection.
    pub connection: Connection,
    /// How the user came to the page.
    pub navigation: Navigation,
    /// Share of page loads that is told of; above 0, at most 1.
    pub sample_rate: f64,
    /// Whether a view of the page begins with it.
    pub started: bool,
    /// When it was made, by the browser's clock in Unix milliseconds, where it says so.
    pub at_ms: Option<i64>,
    /// Values.
    pub vitals: Vec<Vital>,
    /// Errors that scripts did not catch.
    pub errors: Vec<PageError>,
    /// Calls that failed or were slow.
    pub calls: Vec<Call>,
    /// Files that were loaded.
    pub resources: Vec<Resources>,
    /// Frames that took longer than 50 ms.
    pub long_frames: LongFrames,
    /// What the user did.
    pub actions: Vec<Action>,
}

impl Default for Beacon {
    fn default() -> Self {
        Self {
            session: String::new(),
            page: None,
            app: String::new(),
            release: String::new(),
            device: Device::Unknown,
            connection: Connection::Unknown,
            navigation: Navigation::Unknown,
            sample_rate: 1.0,
            started: false,
            at_ms: None,
            vitals: Vec::new(),
            errors: Vec::new(),
            calls: Vec::new(),
            resources: Vec::new(),
            long_frames: LongFrames::default(),
            actions: Vec::new(),
        }
    }
}

impl Beacon {
    /// Whether it says nothing that could be counted.
    pub fn is_empty(&self) -> bool {
        !self.started
            && self.session.is_empty()
            && self.vitals.is_empty()
            && self.errors.is_empty()
            && self.calls.is_empty()
            && self.resources.is_empty()
            && self.long_frames.count == 0
            && self.actions.is_empty()
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Vital {
    /// Which.
    pub name: VitalName,
    /// Milliseconds; of CLS, no unit. Finite, from 0 to [`VitalName::most`].
    pub value: f64,
    /// Whether the value was beyond and is the most.
    pub clamped: bool,
    /// The browser's id; the same one may come again with a larger value. Empty when it has none.
    pub id: String,
    /// Selector of the element that decided.
    pub target: Option<String>,
    /// Address of what decided, without query.
    pub url: Option<String>,
    /// How far the page was loaded.
    pub load_state: Option<String>,
}

/// An error that scripts did not catch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageError {
    /// How it came.
    pub kind: ErrorKind,
    /// Such as `TypeError`; may be empty.
    pub type_: String,
    /// What it says.
    pub message: String,
    /// As the browser wrote it, without queries.
    pub stack: Option<String>,
    /// Address of the script, without query.
    pub source: Option<String>,
    /// Line in it, from 1.
    pub line: Option<u32>,
    /// Column, from 1.
    pub column: Option<u32>,
    /// Times that it happened; at least 1.
    pub count: u64,
}

/// Calls of a page's script that failed or were slow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// One of [`METHODS`], else `other`.
    pub method: &'static str,
    /// Whether it went to where the page is from.
    pub page_origin: bool,
    /// Path, or whole address for another origin; without query.
    pub path: String,
    /// Status of the response, 0 without one.
    pub status: u16,
    /// Why it is told of.
    pub reason: CallReason,
    /// Time of all of them, in milliseconds.
    pub duration_ms: u64,
    /// How many; at least 1.
    pub count: u64,
}

/// Methods that are told apart.
pub const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// Files of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Which.
    pub kind: ResourceType,
    /// How many.
    pub count: u64,
    /// Bytes over the network, as far as the browser tells them.
    pub bytes: u64,
    /// Those of `count` whose bytes are not told.
    pub opaque: u64,
    /// Time of all of them, in milliseconds.
    pub duration_ms: u64,
}

/// Frames that took longer than 50 ms (Long Animation Frames API).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongFrames {
    /// How many.
    pub count: u64,
    /// Time for which they kept input waiting, in milliseconds.
    pub blocking_ms: u64,
}

/// What a user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Name of the marked element, or of the route.
    pub name: String,
    /// What.
    pub kind: ActionKind,
    /// How often; at least 1.
    pub count: u64,
}
