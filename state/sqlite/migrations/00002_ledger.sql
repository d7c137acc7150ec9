-- What two-way connectors remember of their sides; 0 is this, 1 is other.

-- +goose Up

-- Numbers for collections, which stand in every key below.
CREATE TABLE collections (
    id        BIGINT NOT NULL PRIMARY KEY,
    connector TEXT   NOT NULL REFERENCES connectors (name),
    name      BYTEA  NOT NULL,
    UNIQUE (connector, name)
);

-- What the sides of a key were last seen to hold.
CREATE TABLE entries (
    collection BIGINT  NOT NULL REFERENCES collections (id),
    record_key BYTEA   NOT NULL,
    live_this  BOOLEAN NOT NULL,
    live_other BOOLEAN NOT NULL,
    open       BOOLEAN NOT NULL, -- looked at again by every run
    value      BYTEA   NOT NULL, -- the engine's
    PRIMARY KEY (collection, record_key)
);
CREATE INDEX entries_open ON entries (collection, record_key) WHERE open;

-- What a run has read of the sides and not settled yet. Only ever appended to
-- until then: the last batch that is not just seen counts, and the digests of
-- all. They outnumber everything else, hence few columns and one index.
CREATE TABLE news (
    collection BIGINT  NOT NULL, -- collections.id
    seen       BOOLEAN NOT NULL, -- and nothing more is known
    record_key BYTEA   NOT NULL,
    side       INTEGER NOT NULL,
    batch      BIGINT  NOT NULL, -- connectors.commits when it was stored
    body       BYTEA   NOT NULL, -- digest and, unless seen, content
    PRIMARY KEY (collection, seen, record_key, side, batch)
);

-- Edits that were not taken, and what people decided about them.
CREATE TABLE conflicts (
    id          TEXT    NOT NULL PRIMARY KEY,
    connector   TEXT    NOT NULL REFERENCES connectors (name),
    run         TEXT    NOT NULL,
    collection  BYTEA   NOT NULL,
    record_key  BYTEA   NOT NULL,
    field       BYTEA   NOT NULL,
    deletion    BOOLEAN NOT NULL,
    loser       INTEGER NOT NULL,
    held        BOOLEAN NOT NULL,
    rule        TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    this        BYTEA,            -- JSON
    other       BYTEA,            -- JSON
    edited      BIGINT  NOT NULL,
    found_at    BIGINT  NOT NULL,
    take        TEXT    NOT NULL, -- empty until it is decided
    value       BYTEA,            -- JSON
    decided_by  TEXT    NOT NULL,
    decided_at  BIGINT  NOT NULL,
    resolved_at BIGINT  NOT NULL, -- 0 while the conflict is open
    resolved_by TEXT    NOT NULL
);
CREATE INDEX conflicts_by_time ON conflicts (connector, found_at, id);
CREATE INDEX conflicts_by_record ON conflicts (connector, collection, record_key);
CREATE INDEX conflicts_decided ON conflicts (connector) WHERE resolved_at = 0 AND take <> '';

-- +goose Down
DROP TABLE conflicts;
DROP TABLE news;
DROP TABLE entries;
DROP TABLE collections;
