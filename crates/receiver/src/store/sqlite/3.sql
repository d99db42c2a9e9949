-- What is old, however the clock was set when it came.
CREATE INDEX report_by_time ON report (received_ms);
