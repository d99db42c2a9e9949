-- All of it in a schema of its own. Each key begins with the project, so that each table can be distributed by it.

-- What makes a report the same as another: SHA-256 of its body. A table of its own, since the one of reports is cut by months, and an index over
-- all months of it cannot be.
CREATE TABLE edge_report.known (
    project text NOT NULL,
    digest bytea NOT NULL,
    received_ms bigint NOT NULL,
    PRIMARY KEY (project, digest)
);
-- They come in the order of time, so that a few bytes for each megabyte of them say which are old.
CREATE INDEX known_received ON edge_report.known USING brin (received_ms);

CREATE TABLE edge_report.report (
    project text NOT NULL,
    received_ms bigint NOT NULL,
    digest bytea NOT NULL,
    message_id text NOT NULL,
    topic text,
    body bytea NOT NULL,
    PRIMARY KEY (project, received_ms, digest)
) PARTITION BY RANGE (received_ms);

-- What each report said of each job. Where it did not say which, job_id is 0, which no job has.
CREATE TABLE edge_report.report_job (
    project text NOT NULL,
    job_id bigint NOT NULL,
    received_ms bigint NOT NULL,
    digest bytea NOT NULL,
    position integer NOT NULL,
    create_time bigint NOT NULL,
    status text NOT NULL,
    PRIMARY KEY (project, job_id, received_ms, digest, position)
) PARTITION BY RANGE (received_ms);

-- The newest state of each job, and the report that said it.
CREATE TABLE edge_report.job (
    project text NOT NULL,
    job_id bigint NOT NULL,
    create_time bigint NOT NULL,
    status text NOT NULL,
    final boolean NOT NULL,
    exception text,
    received_ms bigint NOT NULL,
    digest bytea NOT NULL,
    PRIMARY KEY (project, job_id)
-- Room for new versions of a row on its own page.
) WITH (fillfactor = 70);
