//! Months, by which reports are cut into partitions: what is old goes as a whole, which costs next to nothing.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use time::{Date, OffsetDateTime};
use tokio_postgres::{Client, Error};

use super::schema;

/// The tables that are cut.
const TABLES: [&str; 2] = ["report", "report_job"];

/// Of the time in which reports came, what one statement forgets: at 1,000/s a second of work.
const SLICE_MS: i64 = 15 * 60 * 1000;

/// For slices in which little came.
const STEP: Duration = Duration::from_millis(50);

/// A month in UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Month(Date);

impl Month {
    /// Times beyond the calendar count as its first month.
    pub(super) fn of(unix_ms: i64) -> Month {
        let at = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1000));
        let date = at.map_or(Date::MIN, OffsetDateTime::date);
        Month(date.replace_day(1).unwrap_or(date))
    }

    fn start_ms(self) -> i64 {
        self.0
            .midnight()
            .assume_utc()
            .unix_timestamp()
            .saturating_mul(1000)
    }

    fn next(self) -> Month {
        let year = self.0.year();
        let month = self.0.month().next();
        let year = if month == time::Month::January {
            year.saturating_add(1)
        } else {
            year
        };
        Month(Date::from_calendar_date(year, month, 1).unwrap_or(Date::MAX))
    }

    /// As the names of its partitions end.
    fn suffix(self) -> String {
        format!("{:04}_{:02}", self.0.year(), u8::from(self.0.month()))
    }

    fn of_suffix(suffix: &str) -> Option<Month> {
        let (year, month) = suffix.split_once('_')?;
        let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
        Some(Month(
            Date::from_calendar_date(year.parse().ok()?, month, 1).ok()?,
        ))
    }

    /// Sees to it that there are partitions for it.
    pub(super) async fn prepare(self, client: &mut Client) -> Result<(), Error> {
        let transaction = client.transaction().await?;
        schema::lock(&transaction).await?;
        for table in TABLES {
            let (suffix, start, end) = (self.suffix(), self.start_ms(), self.next().start_ms());
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {table}_{suffix} PARTITION OF {table} FOR VALUES FROM ({start}) TO ({end})"
            );
            transaction.batch_execute(&sql).await?;
        }
        transaction.commit().await
    }
}

/// Removes the oldest month, step by step.
#[derive(Default)]
pub(super) struct Expiry {
    /// What came earlier in the oldest month is not known any more.
    done_ms: Option<i64>,
}

impl Expiry {
    /// One step, if all of the oldest month came before this time. Whether there is more to do.
    pub(super) async fn step(
        &mut self,
        client: &Client,
        prepared: &mut HashSet<Month>,
        before_ms: i64,
    ) -> Result<bool, Error> {
        let partitions = "SELECT substr(relname, length('report_') + 1) FROM pg_class
            WHERE relnamespace = 'edge_report'::regnamespace AND relname ~ '^report_[0-9]+_[0-9]+$' AND relispartition ORDER BY 1";
        let rows = client.query(partitions, &[]).await?;
        let oldest = rows
            .first()
            .map(|row| row.try_get::<_, &str>(0))
            .transpose()?;
        let Some(month) = oldest.and_then(Month::of_suffix) else {
            return Ok(false);
        };
        let end_ms = month.next().start_ms();
        if end_ms > before_ms {
            return Ok(false);
        }
        // What makes its reports known goes first: after a halt in between, the partition is still there to tell of the rest.
        let began = Instant::now();
        loop {
            let start = self.done_ms.unwrap_or(i64::MIN).max(month.start_ms());
            if start >= end_ms {
                break;
            }
            let end = start.saturating_add(SLICE_MS);
            let forget = "DELETE FROM known WHERE received_ms >= $1 AND received_ms < $2";
            client.execute(forget, &[&start, &end]).await?;
            self.done_ms = Some(end);
            if began.elapsed() > STEP {
                return Ok(true);
            }
        }
        for table in ["job", "confirmation"] {
            let delete = format!("DELETE FROM {table} WHERE received_ms < $1");
            client.execute(&delete, &[&end_ms]).await?;
        }
        for table in TABLES {
            let drop = format!("DROP TABLE IF EXISTS {table}_{}", month.suffix());
            client.batch_execute(&drop).await?;
        }
        // A clock that is wrong may make it anew.
        prepared.remove(&month);
        self.done_ms = None;
        Ok(true)
    }
}
