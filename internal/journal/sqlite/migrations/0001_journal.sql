-- The journal's tables. What holds for all of them:
--   * Times are whole microseconds since 1970 in UTC; NULL is "none".
--   * Enumerations are small integers whose numbers never change; the Go
--     constants that they stand for are named beside them.
--   * A sealed column x has a column x_key with the id of the key that sealed
--     it. A keyed digest names its key by its own first four bytes.
--   * Small rows that change often stand apart from wide rows that are written
--     once; indexes that follow the work are partial, so that work that is done
--     costs nothing.

-- +goose Up

-- Facts about the journal itself: identity (16 bytes, made with the file),
-- created (decimal text), keyset_check (opaque).
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    partner_id  TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    gate        INTEGER NOT NULL DEFAULT 1, -- 1 open, 2 limited, 3 resting, 4 paused
    gate_reason TEXT    NOT NULL DEFAULT '',
    gate_until  INTEGER,                    -- of limited and resting
    gate_count  INTEGER NOT NULL DEFAULT 0, -- faults in a row
    gate_since  INTEGER
) STRICT;

CREATE TABLE topic (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE position (
    topic       INTEGER NOT NULL, -- topic.id
    part        INTEGER NOT NULL,
    next_offset INTEGER NOT NULL, -- the next record to read
    begun       INTEGER NOT NULL,
    PRIMARY KEY (topic, part)
) STRICT, WITHOUT ROWID;

-- A shop is (account, name); its row holds what the planner asks about it.
CREATE TABLE shop (
    id                 INTEGER PRIMARY KEY,
    account            INTEGER NOT NULL,
    name               TEXT    NOT NULL,
    sequence           INTEGER NOT NULL DEFAULT 0, -- of the last outgoing event
    version            INTEGER NOT NULL DEFAULT 0, -- of the newest credential
    merchant_id        TEXT,                       -- of every credential
    invited_operation  INTEGER,                    -- the last invitation that was, or may have been, sent
    invited_at         INTEGER,
    invited_event_time INTEGER,
    invited_mac        BLOB,
    invitation_id      TEXT,
    active_operation   INTEGER,                    -- the current activation
    active_at          INTEGER,
    active_version     INTEGER,
    active_event       BLOB,                       -- uuid of the activated event
    UNIQUE (account, name)
) STRICT;
CREATE UNIQUE INDEX shop_merchant ON shop (account, merchant_id) WHERE merchant_id IS NOT NULL;

-- Which input events were taken. Kept at least as long as the input topics
-- keep their records.
CREATE TABLE inbox (
    identity BLOB PRIMARY KEY, -- digest of topic, source and id
    event    INTEGER NOT NULL  -- event.id
) STRICT, WITHOUT ROWID;

-- What the input events were; written once. Ids have no gaps but for pruning
-- from the oldest on.
CREATE TABLE event (
    id            INTEGER PRIMARY KEY,
    shop          INTEGER NOT NULL,
    kind          INTEGER NOT NULL, -- 1 invite, 2 activate
    exit          INTEGER NOT NULL, -- 1 planned, 2 joined, 3 rerun, 4 answered, 5 kept
    operation     INTEGER,          -- that it led to, started again or joined
    topic         INTEGER NOT NULL,
    part          INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    event_time    INTEGER NOT NULL,
    received      INTEGER NOT NULL,
    digest        BLOB    NOT NULL, -- keyed, of the content
    type          TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    event_id      TEXT    NOT NULL,
    traceparent   TEXT    NOT NULL,
    tracestate    TEXT    NOT NULL
) STRICT;
CREATE INDEX event_shop ON event (shop);

-- The part of an operation that changes.
CREATE TABLE operation (
    id           INTEGER PRIMARY KEY,
    account      INTEGER NOT NULL,
    shop         INTEGER NOT NULL,
    kind         INTEGER NOT NULL, -- 1 invite, 2 activate
    state        INTEGER NOT NULL, -- 1 queued, 2 planned, 3 waiting, 4 claimed, 5 sending, 6 received,
                                   -- 7 stored, 8 unknown, 20 attention, 30 done, 31 superseded
    stage        INTEGER NOT NULL, -- 0 none, 1 call (2, 3), 2 settle (6, 7, 8), 3 out on a lease (4, 5)
    due_at       INTEGER,          -- of stages 1 and 2: when it may be claimed; of 3: when its lease ends
    lane         INTEGER,          -- of open ones: 1 holds its shop's lane, 2 queued behind it, 3 stored
    claim        INTEGER NOT NULL DEFAULT 0, -- rises with every claim: the fence
    leased       INTEGER NOT NULL DEFAULT 0, -- in stage 2: due_at is the end of a lease
    run          INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0, -- requests started, over all runs
    waits        INTEGER NOT NULL DEFAULT 0, -- in a row since the run began
    doubt        INTEGER NOT NULL DEFAULT 0, -- some attempt may have been executed
    event        INTEGER NOT NULL,           -- event.id: began the run
    planned      INTEGER NOT NULL,           -- when the run began
    changed      INTEGER NOT NULL,           -- when the state last changed
    last_attempt INTEGER,                    -- attempt.id
    receipt      INTEGER,                    -- attempt.id: the newest receipt of the run
    received     INTEGER NOT NULL DEFAULT 0, -- the run went through received
    version      INTEGER,                    -- of the credential that the run stored
    stored_at    INTEGER,
    reason       TEXT    NOT NULL DEFAULT '',
    owner        TEXT    NOT NULL DEFAULT '' -- who claimed it last
) STRICT;
CREATE INDEX operation_due ON operation (account, kind, stage, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX operation_lane ON operation (shop, lane, kind) WHERE lane IS NOT NULL;
CREATE INDEX operation_attention ON operation (reason) WHERE state = 20;

-- The part of an operation that is written once.
CREATE TABLE operation_body (
    id          INTEGER PRIMARY KEY, -- operation.id
    uuid        BLOB    NOT NULL,
    kind        INTEGER NOT NULL,
    mac         BLOB    NOT NULL, -- keyed digest of the address or code
    generation  INTEGER NOT NULL,
    key_scope   INTEGER,          -- owner of the key: the shop's id for an invitation, the account's for
                                  -- an activation; NULL where the operation does not own its key
    created     INTEGER NOT NULL,
    subject     BLOB    NOT NULL, -- the address or code, sealed
    subject_key INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX operation_body_uuid ON operation_body (uuid);
CREATE UNIQUE INDEX operation_body_key ON operation_body (key_scope, kind, mac, generation) WHERE key_scope IS NOT NULL;

-- Every request that may have left, and by that the ledgers' history. Ids rise
-- with the time of start.
CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    account     INTEGER NOT NULL,
    operation   INTEGER,          -- NULL for a check of a token
    number      INTEGER NOT NULL, -- within the operation, from 1; 0 for a check
    flagged     INTEGER NOT NULL, -- made in doubt
    started     INTEGER NOT NULL,
    send_by     INTEGER NOT NULL,
    deadline    INTEGER NOT NULL,
    slack       INTEGER NOT NULL, -- microseconds
    ledgers     TEXT    NOT NULL, -- ids of table ledger, in decimal, with a blank between
    ended       INTEGER,          -- when the answer was complete or the connection closed
    counts_from INTEGER,          -- the permits come back one window after it; NULL when nothing was sent
    answered    INTEGER NOT NULL DEFAULT 0,
    not_sent    INTEGER NOT NULL DEFAULT 0,
    slow        INTEGER NOT NULL DEFAULT 0, -- took, or may take, longer than a restart looks back by started
    status      INTEGER NOT NULL DEFAULT 0,
    outcome     TEXT    NOT NULL DEFAULT '',
    code        TEXT    NOT NULL DEFAULT '',
    request_id  TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX attempt_operation ON attempt (operation) WHERE operation IS NOT NULL;
CREATE INDEX attempt_slow ON attempt (counts_from) WHERE slow = 1;

CREATE TABLE ledger (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE receipt (
    attempt    INTEGER PRIMARY KEY, -- attempt.id
    operation  INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    answer     BLOB    NOT NULL, -- the whole answer, sealed
    answer_key INTEGER NOT NULL
) STRICT;

CREATE TABLE credential (
    shop        INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    operation   INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    reference   TEXT    NOT NULL,
    merchant_id TEXT    NOT NULL,
    secret      BLOB,    -- sealed; NULL where another store holds it
    secret_key  INTEGER,
    PRIMARY KEY (shop, version)
) STRICT, WITHOUT ROWID;

-- Outgoing events, frozen; written once. Ids and republish.row are of one
-- rising series.
CREATE TABLE outbox (
    id        INTEGER PRIMARY KEY,
    shop      INTEGER,          -- NULL for a dead letter
    operation INTEGER,
    sequence  INTEGER NOT NULL, -- of the shop; 0 for a dead letter
    created   INTEGER NOT NULL,
    event     BLOB    NOT NULL, -- uuid
    type      TEXT    NOT NULL,
    key       BLOB,
    value     BLOB    NOT NULL,
    headers   BLOB    NOT NULL  -- per header: length and bytes of the name, length and bytes of the
                                -- value; lengths are unsigned varints
) STRICT;
CREATE UNIQUE INDEX outbox_event ON outbox (shop, event) WHERE shop IS NOT NULL;

-- What waits to be published, in order.
CREATE TABLE outbox_pending (
    row    INTEGER PRIMARY KEY,
    outbox INTEGER NOT NULL,
    since  INTEGER NOT NULL
) STRICT;

-- Where an event was published last.
CREATE TABLE outbox_published (
    outbox        INTEGER PRIMARY KEY,
    row           INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    part          INTEGER NOT NULL,
    record_offset INTEGER NOT NULL -- -1 where the broker did not say
) STRICT;

-- Events that were queued once more.
CREATE TABLE republish (
    row    INTEGER PRIMARY KEY,
    outbox INTEGER NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

CREATE TABLE dead_letter (
    id            INTEGER PRIMARY KEY,
    topic         INTEGER NOT NULL,
    part          INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    record_time   INTEGER,
    received      INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    outbox        INTEGER NOT NULL, -- the event that tells of it
    replayed      INTEGER,          -- when its record was taken again
    event_id      TEXT    NOT NULL,
    reason        TEXT    NOT NULL,
    place         TEXT    NOT NULL,
    digest        BLOB,             -- keyed
    record        BLOB,             -- key, headers and value, sealed; NULL when too large
    record_key    INTEGER
) STRICT;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    act     TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
-- +goose StatementEnd
