-- Each report once, in the order in which they came.
CREATE TABLE report (
    id INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    -- SHA-256 of the body.
    digest BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    message_id TEXT NOT NULL,
    topic TEXT,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX report_once ON report (project, digest);
CREATE INDEX report_of_project ON report (project, id);

-- What each report said of each job.
CREATE TABLE report_job (
    project TEXT NOT NULL,
    -- NULL: the report did not say.
    job_id INTEGER,
    report INTEGER NOT NULL,
    position INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    status TEXT NOT NULL
) STRICT;
CREATE INDEX report_job_history ON report_job (project, job_id, report);
CREATE INDEX report_job_of_report ON report_job (report);

-- The newest state of each job, and the report that said it.
CREATE TABLE job (
    project TEXT NOT NULL,
    job_id INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    status TEXT NOT NULL,
    final INTEGER NOT NULL,
    exception TEXT,
    received_ms INTEGER NOT NULL,
    report INTEGER NOT NULL,
    PRIMARY KEY (project, job_id)
) STRICT, WITHOUT ROWID;
