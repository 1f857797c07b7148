-- The journal's tables on PostgreSQL. What holds for all of them:
--   * Times are whole microseconds since 1970 in UTC, by the database's clock;
--     NULL is "none".
--   * Enumerations are small integers whose numbers never change, the same as in
--     the journal on SQLite; the Go constants that they stand for are named beside
--     them there.
--   * A sealed column x has a column x_key with the id of the key that sealed
--     it. A keyed digest names its key by its own first four bytes.
--   * Whoever changes what belongs to a shop holds the lock of its row first.
--   * Names are compared byte for byte.

-- +goose Up

-- Facts about the journal: identity, created, keyset_check; copied (when this copy
-- was made), recovering (that a recovery was begun, and when), recoveries (how many
-- there were), history (before it nothing is known of what was sent), place (which
-- database the journal was in). Times and numbers are decimal texts.
CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- What every migration says of itself: the oldest program that can work with the
-- tables as they are afterwards, by the version of the tables that it was written
-- for. A migration that only adds repeats the number of the one before it.
CREATE TABLE schema_version (
    version     BIGINT NOT NULL UNIQUE,
    readable_by BIGINT NOT NULL CHECK (readable_by <= version),
    PRIMARY KEY (readable_by, version)
);
INSERT INTO schema_version (version, readable_by) VALUES (1, 1);

CREATE TABLE account (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL UNIQUE,
    partner_id  TEXT   NOT NULL,
    created     BIGINT NOT NULL,
    gate        BIGINT NOT NULL DEFAULT 1, -- 1 open, 2 limited, 3 resting, 4 paused
    gate_reason TEXT   NOT NULL DEFAULT '',
    gate_until  BIGINT,
    gate_count  BIGINT NOT NULL DEFAULT 0,
    gate_since  BIGINT,
    closed         BIGINT NOT NULL DEFAULT 0, -- for how many microseconds the gate was not open, up to closed_since
    closed_since   BIGINT,                    -- since when it is not open now; NULL while it is
    refused_in_row BIGINT NOT NULL DEFAULT 0  -- different shops whose credentials were refused, since any were accepted
);

CREATE TABLE topic (
    id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE
);

CREATE TABLE position (
    topic       BIGINT NOT NULL,
    part        BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    begun       BIGINT NOT NULL,
    PRIMARY KEY (topic, part)
) WITH (fillfactor = 50);

CREATE TABLE shop (
    id                 BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account            BIGINT NOT NULL,
    name               TEXT COLLATE "C" NOT NULL,
    sequence           BIGINT NOT NULL DEFAULT 0,
    version            BIGINT NOT NULL DEFAULT 0,
    merchant_id        TEXT COLLATE "C",
    invited_operation  BIGINT,
    invited_at         BIGINT,
    invited_event_time BIGINT,
    invited_mac        BYTEA,
    invitation_id      TEXT,
    active_operation   BIGINT,
    active_at          BIGINT,
    active_version     BIGINT,
    active_event       BYTEA,
    UNIQUE (account, name)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX shop_merchant ON shop (account, merchant_id) WHERE merchant_id IS NOT NULL;

CREATE SEQUENCE event_id;
CREATE TABLE inbox (
    identity BYTEA PRIMARY KEY,
    event    BIGINT NOT NULL
);

CREATE TABLE event (
    id            BIGINT PRIMARY KEY,
    shop          BIGINT NOT NULL,
    kind          BIGINT NOT NULL,
    exit          BIGINT NOT NULL,
    operation     BIGINT,
    topic         BIGINT NOT NULL,
    part          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    event_time    BIGINT NOT NULL,
    received      BIGINT NOT NULL,
    digest        BYTEA  NOT NULL,
    type          TEXT   NOT NULL,
    source        TEXT   NOT NULL,
    event_id      TEXT   NOT NULL,
    traceparent   TEXT   NOT NULL,
    tracestate    TEXT   NOT NULL
);
CREATE INDEX event_shop ON event (shop);

CREATE SEQUENCE operation_id;
CREATE TABLE operation (
    id           BIGINT PRIMARY KEY,
    account      BIGINT NOT NULL,
    shop         BIGINT NOT NULL,
    kind         BIGINT NOT NULL,
    state        BIGINT NOT NULL,
    stage        BIGINT NOT NULL,
    due_at       BIGINT,
    lane         BIGINT,
    claim        BIGINT NOT NULL DEFAULT 0,
    leased       BIGINT NOT NULL DEFAULT 0,
    replica      BIGINT NOT NULL DEFAULT 0, -- who claimed it last: replica.id
    run          BIGINT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    waits        BIGINT NOT NULL DEFAULT 0,
    doubt        BIGINT NOT NULL DEFAULT 0,
    unknowns     BIGINT NOT NULL DEFAULT 0,
    late         BIGINT NOT NULL DEFAULT 0,
    event        BIGINT NOT NULL,
    turn         BIGINT NOT NULL, -- place in the lane: what began its run. Of an event twice its id, of an act of a person one more than that of the last event
    restored     BIGINT NOT NULL DEFAULT 0, -- the number of the recovery that looked at it last
    closed       BIGINT NOT NULL DEFAULT 0, -- what account.closed was, up to that moment, when the run began
    planned      BIGINT NOT NULL,
    changed      BIGINT NOT NULL,
    last_attempt BIGINT,
    receipt      BIGINT,
    received     BIGINT NOT NULL DEFAULT 0,
    version      BIGINT,
    stored_at    BIGINT,
    verified     BIGINT,
    reason       TEXT   NOT NULL DEFAULT '',
    owner        TEXT   NOT NULL DEFAULT ''
) WITH (fillfactor = 70);
CREATE INDEX operation_due ON operation (account, kind, stage, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX operation_lane ON operation (shop, lane, kind, turn) WHERE lane IS NOT NULL;
CREATE INDEX operation_attention ON operation (reason) WHERE state = 20;
CREATE INDEX operation_doubt ON operation (shop, kind) WHERE doubt = 1;

CREATE TABLE operation_body (
    id          BIGINT PRIMARY KEY,
    uuid        BYTEA  NOT NULL,
    kind        BIGINT NOT NULL,
    mac         BYTEA  NOT NULL,
    generation  BIGINT NOT NULL,
    key_scope   BIGINT,
    created     BIGINT NOT NULL,
    subject     BYTEA  NOT NULL,
    subject_key BIGINT NOT NULL
);
CREATE UNIQUE INDEX operation_body_uuid ON operation_body (uuid);
CREATE UNIQUE INDEX operation_body_key ON operation_body (key_scope, kind, mac, generation) WHERE key_scope IS NOT NULL;

CREATE SEQUENCE attempt_id;
CREATE TABLE attempt (
    id          BIGINT PRIMARY KEY,
    account     BIGINT NOT NULL,
    operation   BIGINT,
    number      BIGINT NOT NULL,
    flagged     BIGINT NOT NULL,
    probe       BIGINT NOT NULL DEFAULT 0,
    replica     BIGINT NOT NULL,
    started     BIGINT NOT NULL,
    send_by     BIGINT NOT NULL,
    deadline    BIGINT NOT NULL,
    slack       BIGINT NOT NULL,
    ledgers     BIGINT[] NOT NULL,
    grain       BIGINT NOT NULL, -- counts_from is rounded up to its multiples
    ended       BIGINT,
    counts_from BIGINT,
    answered    BIGINT NOT NULL DEFAULT 0,
    not_sent    BIGINT NOT NULL DEFAULT 0,
    slow        BIGINT NOT NULL DEFAULT 0, -- took, or may take, longer than a restart looks back by started
    status      BIGINT NOT NULL DEFAULT 0,
    outcome     TEXT   NOT NULL DEFAULT '',
    code        TEXT   NOT NULL DEFAULT '',
    request_id  TEXT   NOT NULL DEFAULT ''
) WITH (fillfactor = 80);
CREATE INDEX attempt_operation ON attempt (operation) WHERE operation IS NOT NULL;
CREATE INDEX attempt_started ON attempt (started);
CREATE INDEX attempt_slow ON attempt (counts_from) WHERE slow = 1;

-- A ledger counts the requests of one sliding window, over all replicas. Whoever
-- takes permits holds its row's lock from before the count to the commit.
CREATE TABLE ledger (
    id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    kept BIGINT NOT NULL DEFAULT 0 -- the longest window so far: older permits are of no use
);

-- How many requests of a ledger count from an instant on: until a window has
-- passed, their permits are not back. It follows from the attempts.
CREATE TABLE permit (
    ledger      BIGINT NOT NULL,
    counts_from BIGINT NOT NULL,
    many        BIGINT NOT NULL,
    PRIMARY KEY (ledger, counts_from)
) WITH (fillfactor = 70);

CREATE TABLE receipt (
    attempt    BIGINT PRIMARY KEY,
    operation  BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    answer     BYTEA  NOT NULL,
    answer_key BIGINT NOT NULL
);
CREATE INDEX receipt_operation ON receipt (operation);

-- One row for each active shop, about its current credentials.
CREATE TABLE review (
    shop      BIGINT PRIMARY KEY,
    account   BIGINT NOT NULL,
    version   BIGINT NOT NULL, -- of the credentials
    operation BIGINT NOT NULL, -- that brought them
    state     BIGINT NOT NULL, -- 1 pending, 2 verified, 3 invalid
    routine   BIGINT NOT NULL, -- nothing is open: the next look is of the schedule
    due_at    BIGINT NOT NULL, -- of the next look, or the end of a claim
    claim     BIGINT NOT NULL DEFAULT 0, -- rises with every claim and with newer credentials: the fence
    refused   BIGINT,          -- since when they are refused
    tries     BIGINT NOT NULL DEFAULT 0, -- looks since they were last accepted
    told      BIGINT NOT NULL DEFAULT 0  -- events about them
) WITH (fillfactor = 80);
CREATE INDEX review_due ON review (account, routine, due_at);
CREATE INDEX review_refused ON review (refused) WHERE refused IS NOT NULL;

-- What people ask for; a worker performs or refuses each once.
CREATE TABLE intent (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid        BYTEA  NOT NULL UNIQUE, -- made by who asks
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    act         TEXT   NOT NULL,
    account     BIGINT NOT NULL,
    operation   BIGINT,          -- NULL for an act on the account
    note        TEXT   NOT NULL, -- why, in the person's words
    merchant_id TEXT   NOT NULL,
    token       BYTEA,           -- entered by hand, sealed; NULL once it has ended
    token_key   BIGINT,
    state       BIGINT NOT NULL DEFAULT 1, -- 1 waiting, 2 performed, 3 refused
    result      TEXT   NOT NULL DEFAULT '',
    detail      TEXT   NOT NULL DEFAULT '',
    ended       BIGINT
);
CREATE INDEX intent_waiting ON intent (id) WHERE state = 1;
CREATE INDEX intent_operation ON intent (operation) WHERE operation IS NOT NULL;
CREATE INDEX intent_account ON intent (account) WHERE operation IS NULL;

CREATE TABLE credential (
    shop        BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    operation   BIGINT NOT NULL,
    created     BIGINT NOT NULL,
    reference   TEXT   NOT NULL,
    merchant_id TEXT   NOT NULL,
    secret      BYTEA,
    secret_key  BIGINT,
    PRIMARY KEY (shop, version)
);

-- Outgoing events. Whoever adds rows to outbox_pending holds the journal's lock
-- for it to the commit, so that rows become visible in the order of their
-- numbers, which are of one series with republish.row.
CREATE SEQUENCE outbox_row;
CREATE TABLE outbox (
    id        BIGINT PRIMARY KEY,
    shop      BIGINT,
    operation BIGINT,
    sequence  BIGINT NOT NULL,
    created   BIGINT NOT NULL,
    event     BYTEA  NOT NULL,
    type      TEXT   NOT NULL,
    key       BYTEA,
    value     BYTEA  NOT NULL,
    headers   BYTEA  NOT NULL
);
CREATE UNIQUE INDEX outbox_event ON outbox (shop, event) WHERE shop IS NOT NULL;

CREATE TABLE outbox_pending (
    row    BIGINT PRIMARY KEY,
    outbox BIGINT NOT NULL,
    since  BIGINT NOT NULL
);

CREATE TABLE outbox_published (
    outbox        BIGINT PRIMARY KEY,
    row           BIGINT NOT NULL,
    at            BIGINT NOT NULL,
    part          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL
);

CREATE TABLE republish (
    row    BIGINT PRIMARY KEY,
    outbox BIGINT NOT NULL,
    at     BIGINT NOT NULL
);

-- Who publishes: the only row. Whoever takes the turn raises the number, whoever
-- keeps it moves its end.
CREATE TABLE relay_turn (
    number BIGINT PRIMARY KEY,
    until  BIGINT NOT NULL -- 0: it was given back
) WITH (fillfactor = 10);
INSERT INTO relay_turn VALUES (0, 0);

-- Published events that a restored journal did not know; kept while it is being
-- recovered.
CREATE TABLE announced (
    event     BYTEA PRIMARY KEY,
    outbox    BIGINT NOT NULL,
    operation BYTEA  NOT NULL, -- uuid that the event names; empty for a dead letter
    causation TEXT COLLATE "C" NOT NULL,
    version   BIGINT NOT NULL, -- of the credentials that it names, else 0
    applied   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX announced_operation ON announced (operation);

CREATE TABLE dead_letter (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic         BIGINT NOT NULL,
    part          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    record_time   BIGINT,
    received      BIGINT NOT NULL,
    size          BIGINT NOT NULL,
    outbox        BIGINT NOT NULL,
    replayed      BIGINT,
    event_id      TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    place         TEXT   NOT NULL,
    digest        BYTEA,
    record        BYTEA,
    record_key    BIGINT
);

CREATE TABLE audit (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    act     TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    detail  TEXT   NOT NULL
);
-- +goose StatementBegin
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit EXECUTE FUNCTION audit_stays();

-- The processes that work on the journal. Each holds an advisory lock with its
-- number for as long as its session lives.
CREATE TABLE replica (
    id    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since BIGINT NOT NULL,
    ready BOOLEAN NOT NULL -- it has looked at what was before it
);
