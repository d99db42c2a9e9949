-- Since when a job is in its state: when the first report came that said so, with no other state after it. The default is for older receivers, which may still be
-- at work beside this one.
ALTER TABLE edge_report.job ADD COLUMN since_ms bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000)::bigint;
UPDATE edge_report.job SET since_ms = received_ms;

-- Messages for the broker of --confirm, until it has taken them. A table of few rows, which is not to be distributed: they are taken in the order of time.
CREATE TABLE edge_report.confirmation (
    project text NOT NULL,
    -- That of the report.
    digest bytea NOT NULL,
    received_ms bigint NOT NULL,
    -- Not to be tried before; 0: it has not failed, and waits for no clock.
    due_ms bigint NOT NULL,
    topic text NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (project, digest)
);
CREATE INDEX confirmation_due ON edge_report.confirmation (due_ms, received_ms);
