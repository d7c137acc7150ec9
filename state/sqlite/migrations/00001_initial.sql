-- What the engine remembers. The same statements create the schema in SQLite
-- and in PostgreSQL:
--
--   TEXT     words of our own and texts for people; valid UTF-8 without NUL
--   BYTEA    anything that came from outside: ids, keys, positions, paths, JSON
--            (SQLite keeps blobs in it unchanged)
--   BIGINT   counts; times in nanoseconds since 1970 UTC, 0 for none

-- +goose Up

-- One row per connector that ever had a lease.
CREATE TABLE connectors (
    name           TEXT    NOT NULL PRIMARY KEY,
    destination_id BYTEA   NOT NULL, -- as last seen by a run
    incarnation    BYTEA   NOT NULL,
    epoch          BIGINT  NOT NULL, -- of the last lease acquired; only grows
    holder         TEXT    NOT NULL, -- of that lease; empty once it is released
    lease_until    BIGINT  NOT NULL, -- 0 once it is released
    commits        BIGINT  NOT NULL  -- every commit counts here first, which locks the row
);

-- What the next plan needs to know of a partition.
CREATE TABLE partitions (
    connector           TEXT    NOT NULL REFERENCES connectors (name),
    id                  BYTEA   NOT NULL,
    collection          BYTEA   NOT NULL,
    prefix              BYTEA   NOT NULL,
    checkpoint_position BYTEA   NOT NULL,
    checkpoint_mark     BYTEA   NOT NULL, -- of an unfinished full run
    checkpoint_target   BYTEA   NOT NULL,
    checkpoint_run      TEXT    NOT NULL,
    checkpoint_seq      BIGINT  NOT NULL,
    checkpoint_epoch    BIGINT  NOT NULL,
    outcome             TEXT    NOT NULL,
    error               TEXT    NOT NULL,
    error_code          TEXT    NOT NULL,
    fingerprint         BYTEA   NOT NULL,
    destination_id      BYTEA   NOT NULL,
    incarnation         BYTEA   NOT NULL,
    started             BYTEA   NOT NULL, -- position taken before the unfinished full run
    records             BIGINT  NOT NULL,
    log_size            BIGINT  NOT NULL, -- bytes
    repair              BYTEA,            -- keys, each behind its length as a uvarint
    reconciled          BIGINT  NOT NULL,
    updated             BIGINT  NOT NULL,
    rule                TEXT    NOT NULL,
    last_run            TEXT    NOT NULL,
    seq                 BIGINT  NOT NULL,
    unfinished          BOOLEAN NOT NULL, -- a full run began and has not ended
    progress            BYTEA,            -- the engine's, of an unfinished run
    PRIMARY KEY (connector, id)
);

CREATE TABLE runs (
    id        TEXT    NOT NULL PRIMARY KEY,
    connector TEXT    NOT NULL REFERENCES connectors (name),
    holder    TEXT    NOT NULL,
    epoch     BIGINT  NOT NULL,
    started   BIGINT  NOT NULL,
    finished  BIGINT  NOT NULL,
    status    TEXT    NOT NULL, -- running, crashed or an outcome
    exit_code INTEGER NOT NULL,
    error     TEXT    NOT NULL,
    hint      TEXT    NOT NULL,
    plan_id   TEXT    NOT NULL,
    summary   BYTEA             -- JSON
);
CREATE INDEX runs_by_connector ON runs (connector, started, id);
CREATE INDEX runs_by_start ON runs (started, id);

-- Plans are made before a connector has its first lease, hence no reference.
CREATE TABLE plans (
    id        TEXT   NOT NULL PRIMARY KEY,
    connector TEXT   NOT NULL,
    saved     BIGINT NOT NULL, -- counts the plans saved of this connector
    body      BYTEA  NOT NULL  -- JSON
);
CREATE INDEX plans_by_connector ON plans (connector, saved);

-- Only ever appended to.
CREATE TABLE certificates (
    connector TEXT   NOT NULL REFERENCES connectors (name),
    partition BYTEA  NOT NULL,
    seq       BIGINT NOT NULL,
    run       TEXT   NOT NULL,
    body      BYTEA  NOT NULL, -- canonical JSON
    PRIMARY KEY (connector, partition, seq)
);

CREATE TABLE dead_letters (
    id          TEXT    NOT NULL PRIMARY KEY,
    connector   TEXT    NOT NULL REFERENCES connectors (name),
    partition   BYTEA   NOT NULL,
    run         TEXT    NOT NULL,
    record_key  BYTEA   NOT NULL,
    origin      BYTEA   NOT NULL,
    line        BIGINT  NOT NULL,
    op          INTEGER NOT NULL,
    version     BYTEA   NOT NULL,
    body        BYTEA   NOT NULL,
    has_body    BOOLEAN NOT NULL,
    has_parts   BOOLEAN NOT NULL,
    stage       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    failed_at   BIGINT  NOT NULL,
    resolved_at BIGINT  NOT NULL, -- 0 while the letter is open
    resolved_by TEXT    NOT NULL,
    subject     BYTEA   NOT NULL  -- hash of what the letter is about
);
-- One open letter per subject.
CREATE UNIQUE INDEX dead_letters_open ON dead_letters (connector, subject) WHERE resolved_at = 0;
CREATE INDEX dead_letters_by_time ON dead_letters (connector, failed_at, id);

-- +goose Down
DROP TABLE dead_letters;
DROP TABLE certificates;
DROP TABLE plans;
DROP TABLE runs;
DROP TABLE partitions;
DROP TABLE connectors;
