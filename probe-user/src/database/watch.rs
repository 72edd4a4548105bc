//! Looks at each configured database again and again, and connects anew when it must.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use sqlx::{Connection as _, PgConnection};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    connect::{self, ConnectError, Step},
    look::Looker,
    pgbouncer::{self, Pooler},
    report::{AskedDatabase, Link, Look, Server},
};
use crate::config::{self, DatabaseUrl};

/// Pause after the first failed attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long one look may take. Statements end earlier by themselves: only a server that is gone without
/// a word takes so long.
const LOOK: Duration = Duration::from_secs(30);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_millis(300);

/// The databases that are looked at.
#[derive(Debug, Clone, Default)]
pub struct Databases(Arc<[Watched]>);

#[derive(Debug)]
struct Watched {
    name: String,
    service: Option<String>,
    server: watch::Receiver<Arc<Link<Server>>>,
    pooler: Option<watch::Receiver<Arc<Link<Pooler>>>>,
}

impl Databases {
    /// Starts a task for each database, and one for each PgBouncer. Must be called on a runtime.
    pub fn watch(databases: &[config::Database], stop: &CancellationToken) -> Self {
        let watched = databases.iter().map(|database| Watched {
            name: database.name.clone(),
            service: database.service.clone(),
            server: spawn(Postgres::new(database), &database.url, database, stop),
            pooler: database.pgbouncer_url.as_ref().map(|url| {
                let console = PgBouncer(url.clone());
                spawn(console, url, database, stop)
            }),
        });
        Self(watched.collect())
    }

    /// What is known now, in the order of the configuration.
    pub fn reports(&self) -> Vec<AskedDatabase> {
        let report = |watched: &Watched| AskedDatabase {
            name: watched.name.clone(),
            service: watched.service.clone(),
            server: Arc::clone(&watched.server.borrow()),
            pooler: watched
                .pooler
                .as_ref()
                .map(|link| Arc::clone(&link.borrow())),
        };
        self.0.iter().map(report).collect()
    }
}

/// Looks at one database and its PgBouncer once, each as far as it can be reached.
pub async fn inspect(database: &config::Database) -> AskedDatabase {
    let server = inspect_one(Postgres::new(database), &database.url).await;
    let pooler = match &database.pgbouncer_url {
        Some(url) => Some(Arc::new(inspect_one(PgBouncer(url.clone()), url).await)),
        None => None,
    };
    AskedDatabase {
        name: database.name.clone(),
        service: database.service.clone(),
        server: Arc::new(server),
        pooler,
    }
}

async fn inspect_one<A: Asked>(mut asked: A, url: &DatabaseUrl) -> Link<A::Answer> {
    let mut link = Link::at(url);
    match asked.connect().await {
        Ok(mut connection) => match look(&mut asked, &mut connection).await {
            Ok(look) => link.look = Some(look),
            Err(lost) => link.fail(ConnectError::lost(&link.place, &lost)),
        },
        Err(error) => link.fail(error),
    }
    link
}

/// Something that is asked over a connection.
trait Asked: Send + 'static {
    /// What it answers.
    type Answer: Default + Clone + Send + Sync + 'static;
    /// What it is, in the log.
    const WHAT: &'static str;

    fn connect(&self) -> impl Future<Output = Result<PgConnection, ConnectError>> + Send;

    fn ask(
        &mut self,
        connection: &mut PgConnection,
    ) -> impl Future<Output = Result<Self::Answer, sqlx::Error>> + Send;

    /// Nothing that was learned over an earlier connection holds any more.
    fn forget(&mut self);
}

struct Postgres {
    database: config::Database,
    looker: Looker,
}

impl Postgres {
    fn new(database: &config::Database) -> Self {
        Self {
            looker: Looker::new(database.advice),
            database: database.clone(),
        }
    }
}

impl Asked for Postgres {
    type Answer = Server;
    const WHAT: &'static str = "Postgres";

    async fn connect(&self) -> Result<PgConnection, ConnectError> {
        connect::connect(&self.database).await
    }

    async fn ask(&mut self, connection: &mut PgConnection) -> Result<Server, sqlx::Error> {
        self.looker.look(connection).await
    }

    fn forget(&mut self) {
        self.looker.forget();
    }
}

struct PgBouncer(DatabaseUrl);

impl Asked for PgBouncer {
    type Answer = Pooler;
    const WHAT: &'static str = "PgBouncer";

    async fn connect(&self) -> Result<PgConnection, ConnectError> {
        pgbouncer::connect(&self.0).await
    }

    async fn ask(&mut self, connection: &mut PgConnection) -> Result<Pooler, sqlx::Error> {
        pgbouncer::look(connection).await
    }

    fn forget(&mut self) {}
}

fn spawn<A: Asked>(
    asked: A,
    url: &DatabaseUrl,
    database: &config::Database,
    stop: &CancellationToken,
) -> watch::Receiver<Arc<Link<A::Answer>>> {
    let (published, receiver) = watch::channel(Arc::new(Link::at(url)));
    let watcher = Watcher {
        asked,
        name: database.name.clone(),
        every: Duration::from_secs(database.interval_s.max(1).into()),
        published,
    };
    let stop = stop.clone();
    tokio::spawn(async move { watcher.run(&stop).await });
    receiver
}

struct Watcher<A: Asked> {
    asked: A,
    name: String,
    every: Duration,
    published: watch::Sender<Arc<Link<A::Answer>>>,
}

impl<A: Asked> Watcher<A> {
    /// Connects and looks until the daemon stops.
    async fn run(mut self, stop: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let connected = tokio::select! {
                connected = self.asked.connect() => connected,
                () = stop.cancelled() => return,
            };
            match connected {
                Ok(connection) => {
                    self.asked.forget();
                    if self.follow(connection, stop).await {
                        pause = FIRST_PAUSE;
                    }
                }
                Err(error) => self.fail(error),
            }
            tokio::select! {
                () = sleep(jittered(pause)) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Looks until the connection is lost; whether there was an answer at all.
    async fn follow(&mut self, mut connection: PgConnection, stop: &CancellationToken) -> bool {
        let mut answered = false;
        let mut ticks = interval(self.every);
        // After a slow look, the next comes a whole interval later.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => {
                    let _ = timeout(GOODBYE, connection.close()).await;
                    return answered;
                }
            }
            let looked = tokio::select! {
                looked = look(&mut self.asked, &mut connection) => looked,
                () = stop.cancelled() => return answered,
            };
            match looked {
                Ok(look) => self.publish(look),
                Err(error) => {
                    let place = self.published.borrow().place.clone();
                    self.fail(ConnectError::lost(&place, &error));
                    return answered;
                }
            }
            answered = true;
        }
    }

    fn publish(&self, look: Look<A::Answer>) {
        self.published.send_modify(|link| {
            if link.error.is_some() || link.look.is_none() {
                info!(database = self.name, "{} answers", A::WHAT);
            }
            *link = Arc::new(Link {
                place: link.place.clone(),
                look: Some(look),
                error: None,
                failed: link.failed,
            });
        });
    }

    /// Notes a failed attempt, and logs it unless it failed for the same cause before.
    fn fail(&self, error: ConnectError) {
        self.published.send_modify(|link| {
            if link.error.as_ref() != Some(&error) {
                warn!(
                    database = self.name,
                    step = error.step.as_str(),
                    "cannot ask {}: {error}; trying again",
                    A::WHAT
                );
            }
            Arc::make_mut(link).fail(error);
        });
    }
}

async fn look<A: Asked>(
    asked: &mut A,
    connection: &mut PgConnection,
) -> Result<Look<A::Answer>, String> {
    let begin = Instant::now();
    match timeout(LOOK, asked.ask(connection)).await {
        Ok(Ok(found)) => Ok(Look {
            at: SystemTime::now(),
            took: begin.elapsed(),
            found,
        }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOK.as_secs())),
    }
}

/// Between half of the pause and all of it, so that the probes of many hosts do not come at once to
/// a database that has just started.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) >> 40;
    pause.mul_f64(0.5 + 0.5 * (random as f64 / f64::from(1u32 << 24)))
}

impl<T> Link<T> {
    fn at(url: &DatabaseUrl) -> Self {
        Self {
            place: url.to_string(),
            look: None,
            error: None,
            failed: [0; Step::ALL.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_bounded_and_not_all_alike() {
        let pause = Duration::from_secs(8);
        let pauses: Vec<Duration> = (0..50).map(|_| jittered(pause)).collect();
        assert!(pauses.iter().all(|one| *one >= pause / 2 && *one <= pause));
        assert!(pauses.iter().any(|one| *one != pauses[0]));
    }
}
