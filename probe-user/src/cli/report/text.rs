//! The report in lines of at most 80 characters.

use serde_json::Value;

const WIDTH: usize = 80;
/// Statements that one piece of advice shows.
const STATEMENTS: usize = 5;

/// The answer of `/api/advice` for people; with all statements that were looked at, if `statements`.
pub(super) fn advice(answer: &Value, statements: bool) -> String {
    let mut out = Lines::default();
    let databases = list(answer, "/databases");
    if databases.is_empty() {
        out.wrapped(
            0,
            "No database is configured for advice: add a [[database]] with its url, and give its role \
             the rights that docs/database.md lists.",
        );
    }
    for database in databases {
        let name = text(database, "/name");
        let all = list(answer, "/advice");
        let own: Vec<&Value> = all
            .iter()
            .filter(|one| text(one, "/database") == name)
            .collect();
        head(&mut out, database, own.len());
        for (at, one) in own.iter().enumerate() {
            out.blank();
            piece(&mut out, at + 1, one);
        }
        if statements {
            looked_at(&mut out, database);
        }
        out.blank();
    }
    out.0
}

fn head(out: &mut Lines, database: &Value, count: usize) {
    let name = text(database, "/name");
    match text(database, "/state") {
        "waiting" => out.wrapped(0, &format!("{name}: the first round is not over yet.")),
        "failed" => {
            let reason = text(database, "/reason");
            out.wrapped(0, &format!("{name}: the last round failed: {reason}"));
        }
        _ => {
            let pieces = match count {
                0 => "no advice".to_owned(),
                1 => "one piece of advice".to_owned(),
                several => format!("{several} pieces of advice"),
            };
            out.wrapped(
                0,
                &format!(
                    "{name}: {pieces}; {} statements were looked at, {}, in {:.1} s.",
                    list(database, "/looked_at").len(),
                    text(database, "/finished_at"),
                    number(database, "/round_seconds"),
                ),
            );
            if let Some(reason) = database.pointer("/hypopg/reason").and_then(Value::as_str) {
                out.wrapped(0, reason);
            }
        }
    }
}

fn piece(out: &mut Lines, at: usize, one: &Value) {
    out.wrapped(0, &format!("{at}. {}.", text(one, "/summary")));
    out.wrapped(3, text(one, "/statement"));
    let table = format!(
        "{}: {} rows, {}",
        text(one, "/table/name"),
        grouped(number(one, "/table/rows")),
        size(number(one, "/table/bytes"))
    );
    let index = match one.pointer("/index/bytes").and_then(Value::as_f64) {
        Some(bytes) if one.get("gain").is_some() => {
            format!("; the index takes about {}", size(bytes))
        }
        Some(bytes) => format!("; the index takes {}", size(bytes)),
        None => String::new(),
    };
    out.wrapped(3, &format!("{table}{index}."));
    if let Some(cost) = one.get("write_cost") {
        out.wrapped(
            3,
            &format!(
                "Writing: {:.2} more index entries a second; the table has {} indexes; {:.0} % of its \
                 updates are heap-only.",
                number(cost, "/entries_per_second"),
                grouped(number(cost, "/existing_indexes")),
                number(cost, "/heap_only_share") * 100.0
            ),
        );
    }
    let statements = list(one, "/statements");
    for (at, statement) in statements.iter().take(STATEMENTS).enumerate() {
        evidence(out, statement, at == 0);
    }
    if statements.len() > STATEMENTS {
        let more = statements.len() - STATEMENTS;
        out.wrapped(3, &format!("and {more} more statements; see --json."));
    }
    for caution in list(one, "/cautions") {
        out.wrapped(3, &format!("! {}.", caution.as_str().unwrap_or_default()));
    }
}

fn evidence(out: &mut Lines, statement: &Value, with_plan: bool) {
    let words = |pointer: &str| -> Vec<&str> {
        list(statement, pointer)
            .iter()
            .filter_map(Value::as_str)
            .collect()
    };
    let mut line = words("/services").join(", ");
    let routes = words("/routes");
    if !routes.is_empty() {
        line.push_str(&format!(", for {}", routes.join(", ")));
    }
    line.push_str(&format!(
        ": {} calls, {:.3} s in all",
        grouped(number(statement, "/calls")),
        number(statement, "/total_seconds")
    ));
    if statement.get("gain").is_some() {
        line.push_str(&format!(
            ", cost {} -> {}",
            grouped(number(statement, "/gain/cost_before")),
            grouped(number(statement, "/gain/cost_after"))
        ));
    }
    out.wrapped(3, &format!("{line} ({})", text(statement, "/fingerprint")));
    out.wrapped(5, text(statement, "/sql"));
    if with_plan {
        for (title, pointer) in [("now", "/plan_before"), ("with it", "/plan_after")] {
            let plan = text(statement, pointer);
            if !plan.is_empty() {
                out.wrapped(5, &format!("Plan {title}:"));
                plan.lines().for_each(|line| out.cut(7, line));
            }
        }
    }
}

fn looked_at(out: &mut Lines, database: &Value) {
    out.blank();
    out.wrapped(0, "Statements that were looked at, the costliest first:");
    for one in list(database, "/looked_at") {
        out.wrapped(
            2,
            &format!("{} {}", text(one, "/fingerprint"), text(one, "/sql")),
        );
        out.wrapped(4, &format!("-> {}", text(one, "/outcome")));
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or(0.0)
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A whole number with a comma for each thousand.
fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn size(bytes: f64) -> String {
    let units = [
        (1_073_741_824.0, "GiB"),
        (1_048_576.0, "MiB"),
        (1_024.0, "KiB"),
    ];
    let unit = units.iter().find(|(unit, _)| bytes >= *unit);
    match unit {
        Some((unit, name)) => format!("{:.1} {name}", bytes / unit),
        None => format!("{bytes:.0} B"),
    }
}

/// Lines that end before the terminal's edge.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn blank(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// Breaks a text between words; a word that is longer than a line stays whole.
    fn wrapped(&mut self, indent: usize, text: &str) {
        let mut length = 0;
        for word in text.split_whitespace() {
            let width = word.chars().count();
            if length > 0 && length + 1 + width > WIDTH {
                self.0.push('\n');
                length = 0;
            }
            if length == 0 {
                self.0.push_str(&" ".repeat(indent));
                length = indent;
            } else {
                self.0.push(' ');
                length += 1;
            }
            // What comes from the wire must not move the cursor.
            self.0
                .extend(word.chars().filter(|character| !character.is_control()));
            length += width;
        }
        if length > 0 {
            self.0.push('\n');
        }
    }

    /// One line, cut at the edge.
    fn cut(&mut self, indent: usize, line: &str) {
        let line = format!("{}{line}", " ".repeat(indent));
        let shown = line.chars().filter(|character| !character.is_control());
        match line.chars().count() > WIDTH {
            true => {
                self.0.extend(shown.take(WIDTH - 1));
                self.0.push('…');
            }
            false => self.0.extend(shown),
        }
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({
            "databases": [
                {"name": "shop", "state": "done", "finished_at": "2026-01-02T03:04:05.678Z", "round_seconds": 0.42,
                 "hypopg": {"usable": true}, "looked_at": [
                    {"fingerprint": "0123456789abcdef", "sql": "select ?", "outcome": "its cost of 0 is below advice.min_cost"}]},
                {"name": "other", "state": "failed", "reason": "connecting failed: refused"},
                {"name": "new", "state": "waiting"}
            ],
            "advice": [{
                "database": "shop", "kind": "missing_index",
                "summary": "An index on public.orders (customer_id, created_at) saves 99 % of the cost of one statement, by the planner's estimate",
                "statement": "CREATE INDEX CONCURRENTLY orders_customer_id_created_at_idx ON public.orders (customer_id, created_at);",
                "table": {"name": "public.orders", "rows": 1234567.0, "bytes": 104857600},
                "index": {"bytes": 3145728}, "gain": {"cost_before": 20000.0, "cost_after": 12.5},
                "write_cost": {"entries_per_second": 0.5, "existing_indexes": 2, "heap_only_share": 0.25},
                "statements": [{"services": ["web"], "routes": ["GET /orders/{id}"], "calls": 12, "total_seconds": 1.25,
                    "gain": {"cost_before": 20000.0, "cost_after": 12.5}, "fingerprint": "0123456789abcdef",
                    "sql": "select * from orders where customer_id = ? and created_at > ?\u{1b}[2J",
                    "plan_before": "Seq Scan on public.orders (cost 20000, rows 5)\n    Filter: something that is so long that it does not fit into a line of eighty characters at all",
                    "plan_after": "Index Scan (cost 12, rows 5)"}],
                "cautions": ["It takes long"]
            }]
        })
    }

    /// A terminal has 80 columns, and what is wrapped by it can't be read.
    #[test]
    fn everything_fits_into_a_terminal_and_is_complete() {
        let text = advice(&answer(), true);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        let flowing = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "shop: one piece of advice; 1 statements were looked at",
            "CREATE INDEX CONCURRENTLY orders_customer_id_created_at_idx ON public.orders (customer_id, created_at);",
            "public.orders: 1,234,567 rows, 100.0 MiB; the index takes about 3.0 MiB.",
            "web, for GET /orders/{id}: 12 calls, 1.250 s in all, cost 20,000 -> 12",
            "Plan now: Seq Scan on public.orders",
            "! It takes long.",
            "-> its cost of 0 is below advice.min_cost",
            "other: the last round failed: connecting failed: refused",
            "new: the first round is not over yet.",
        ] {
            assert!(flowing.contains(part), "{part}\n{text}");
        }
        assert!(
            !text.contains('\u{1b}'),
            "what comes from the wire must not steer the terminal"
        );
    }

    #[test]
    fn without_a_database_it_says_what_to_do() {
        let text = advice(&json!({"databases": [], "advice": []}), false);
        assert!(
            text.contains("[[database]]") && text.contains("docs/database.md"),
            "{text}"
        );
    }
}
