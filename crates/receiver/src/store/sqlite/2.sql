-- Since when a job is in its state: when the first report came that said so, with no other state after it.
ALTER TABLE job ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
UPDATE job SET since_ms = received_ms;

-- Messages for the broker of --confirm, until it has taken them.
CREATE TABLE confirmation (
    project TEXT NOT NULL,
    -- That of the report.
    digest BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    -- Not to be tried before; 0: it has not failed, and waits for no clock.
    due_ms INTEGER NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (project, digest)
) STRICT;
CREATE INDEX confirmation_due ON confirmation (due_ms, received_ms);
