-- The tables of the journal. This text is PostgreSQL's; package schema makes
-- SQLite's from it. What only one database has stands between "+only" and "+end".
--
--   * Times are whole microseconds since 1970 in UTC, on PostgreSQL by the
--     clock of the database. NULL means "none".
--   * Flags are 0 or 1. Enumerations are small integers whose numbers never
--     change. Numbers without another comment refer to the id of a table.
--   * A sealed column x has a column x_key: the id of the key that sealed it. A
--     keyed digest (mac, digest) begins with the id of its key, in four bytes.
--   * Narrow rows that change often are separate from wide rows that are written
--     once. Indexes for pending work are partial, so that finished work costs
--     nothing.
--   * On PostgreSQL a transaction locks the row of a shop before it changes
--     anything that belongs to the shop.

-- +goose Up

-- Facts about the journal, and on which database. Times and numbers are decimal
-- texts.
--   identity      both: 16 bytes; a recovery changes it
--   origin        both: 16 bytes, the identity at creation, which seals name; absent while it is equal to identity
--   created       both: when the journal was created
--   keyset_check  both: opaque, recognizes the keyset
--   history       both: requests sent before it may be unknown to the journal
--   floor         both: new shops get ids above it
--   pruning       both: the time by which ages are counted
--   pruning_at    both: when pruning was set
--   place         both: which file or database the journal was opened in last
--   worker        both: what a worker reports; its name is "worker/" and the worker's id
--   copied        both: when this copy was made; it must be recovered before it is used
--   recovering    both: since when a recovery runs, on SQLite with the last event before it
--   recoveries    both: how many recoveries there were
--   clock         SQLite: the machine's boot and the clock then, to notice a clock that was set
--   commits       SQLite: how many commits were made
--   moving        SQLite: the id of the move to another database that has begun
--   moved_to      SQLite: where the journal was moved to
--   took_over     PostgreSQL: since when the replicas check that a server that took over has all commits
--   copying       PostgreSQL: the state of the move of a journal into this database
CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
); -- by key

-- +only postgres
-- For each migration: the oldest program version that can use the tables after
-- it. A migration that only adds repeats the number of the one before it.
CREATE TABLE schema_version (
    version     BIGINT NOT NULL UNIQUE,
    readable_by BIGINT NOT NULL CHECK (readable_by <= version),
    PRIMARY KEY (readable_by, version)
);
INSERT INTO schema_version (version, readable_by) VALUES (1, 1);
-- +end

-- A partner account at Invoicebox, and its circuit breaker.
CREATE TABLE account (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           TEXT COLLATE "C" NOT NULL UNIQUE,
    partner_id     TEXT   NOT NULL,
    created        BIGINT NOT NULL,
    circuit        BIGINT NOT NULL DEFAULT 1, -- 1 active, 2 throttled, 3 backing off, 4 paused
    circuit_reason TEXT   NOT NULL DEFAULT '',
    circuit_until  BIGINT,                    -- only for throttled and backing off
    circuit_count  BIGINT NOT NULL DEFAULT 0, -- consecutive faults
    circuit_since  BIGINT,
    open_time      BIGINT NOT NULL DEFAULT 0, -- microseconds for which the circuit breaker was open (not active), up to open_since
    open_since     BIGINT,                    -- since when the circuit breaker is open; NULL while it is active
    consecutive_rejections BIGINT NOT NULL DEFAULT 0 -- different shops whose credentials were refused since some were accepted
);

CREATE TABLE topic (
    id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE
);

-- The next record to read of each partition. batch_* identify the record batch
-- before or around it, because an offset alone does not identify the records
-- before it; NULL while unknown.
CREATE TABLE position (
    topic       BIGINT NOT NULL,
    part        BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    begun       BIGINT NOT NULL, -- when reading began
    batch_last  BIGINT,
    batch_epoch BIGINT,
    batch_crc   BIGINT,
    PRIMARY KEY (topic, part)
) WITH (fillfactor = 50); -- by key

-- A shop is (account, name). The row holds what the planner needs of it.
CREATE TABLE shop (
    id                 BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account            BIGINT NOT NULL,
    name               TEXT COLLATE "C" NOT NULL,
    sequence           BIGINT NOT NULL DEFAULT 0, -- of the last outgoing event
    version            BIGINT NOT NULL DEFAULT 0, -- of the newest credential
    merchant_id        TEXT COLLATE "C",          -- the same for all credentials of the shop
    invited_operation  BIGINT,                    -- the last invitation that was sent, or may have been
    invited_at         BIGINT,
    invited_event_time BIGINT,
    invited_mac        BYTEA,
    invitation_id      TEXT,
    active_operation   BIGINT,                    -- the current activation
    active_at          BIGINT,
    active_version     BIGINT,
    active_event       BYTEA,                     -- uuid of the "activated" event
    disconnected_at    BIGINT,                    -- when its credentials were disconnected; NULL once it is active again
    remind_due         BIGINT,                    -- of the next reminder of the last invitation; NULL if none follows
    reminded           BIGINT NOT NULL DEFAULT 0, -- reminders of the last invitation that were published
    -- The verification of the current credentials, only of an active shop:
    review_state       BIGINT NOT NULL DEFAULT 0, -- 1 pending, 2 verified, 3 invalid
    review_routine     BIGINT NOT NULL DEFAULT 0, -- no question is open: the next check is a scheduled one
    review_due         BIGINT,                    -- of the next check, or the end of a claim
    review_claim       BIGINT NOT NULL DEFAULT 0, -- increases with each claim and with newer credentials: the fencing token
    review_refused     BIGINT,                    -- since when they are refused
    review_tries       BIGINT NOT NULL DEFAULT 0, -- checks since they were accepted last
    review_events      BIGINT NOT NULL DEFAULT 0, -- events published about them
    UNIQUE (account, name)
) WITH (fillfactor = 80);
CREATE INDEX shop_review ON shop (account, review_routine, review_due) WHERE review_due IS NOT NULL;
CREATE INDEX shop_remind ON shop (remind_due) WHERE remind_due IS NOT NULL;
CREATE INDEX shop_refused ON shop (review_refused) WHERE review_refused IS NOT NULL;
CREATE UNIQUE INDEX shop_merchant ON shop (account, merchant_id) WHERE merchant_id IS NOT NULL;

-- The inbox: input events that were taken. A row with its identity is kept at least
-- as long as the input topics retain the record. On SQLite ids have no gaps after the
-- oldest row. An event that created an operation holds the part of the operation that
-- is written once, from uuid to subject_key, and is kept as long as the operation; of
-- other events these columns are NULL.
CREATE TABLE event (
    id            BIGINT PRIMARY KEY,
    identity      BYTEA,           -- digest of topic, source and id; NULL once a record with it counts as a new one
    shop          BIGINT NOT NULL,
    kind          BIGINT NOT NULL, -- 1 invite, 2 activate
    exit          BIGINT NOT NULL, -- 1 planned, 2 joined, 3 rerun, 4 answered, 5 kept; 0: pruned, the row is kept for its operation
    operation     BIGINT,          -- that the event began, began again or joined
    topic         BIGINT NOT NULL,
    part          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    event_time    BIGINT NOT NULL,
    received      BIGINT NOT NULL,
    digest        BYTEA  NOT NULL, -- keyed, of the content
    type          TEXT   NOT NULL,
    source        TEXT   NOT NULL,
    event_id      TEXT   NOT NULL,
    traceparent   TEXT   NOT NULL,
    tracestate    TEXT   NOT NULL,
    uuid          BYTEA,           -- of the operation, whose id is that of the event
    mac           BYTEA,           -- of the address or code
    generation    BIGINT NOT NULL DEFAULT 0,
    key_scope     BIGINT,          -- owner of (kind, mac, generation): the shop for an invitation, the account for an
                                   -- activation; NULL where the operation does not own it
    subject       BYTEA,           -- the address or code, sealed
    subject_key   BIGINT
);
CREATE UNIQUE INDEX event_identity ON event (identity) WHERE identity IS NOT NULL;
CREATE INDEX event_shop ON event (shop);
CREATE UNIQUE INDEX event_uuid ON event (uuid) WHERE uuid IS NOT NULL;
CREATE UNIQUE INDEX event_key ON event (key_scope, kind, mac, generation) WHERE key_scope IS NOT NULL;

-- +only sqlite
-- The part of operations that is written once, for those who read or repair a file.
CREATE VIEW operation_body AS SELECT id, uuid, kind, mac, generation, key_scope, received AS created, subject, subject_key FROM event WHERE uuid IS NOT NULL;
-- +goose StatementBegin
CREATE TRIGGER operation_body_update INSTEAD OF UPDATE ON operation_body BEGIN
    UPDATE event SET uuid = NEW.uuid, mac = NEW.mac, generation = NEW.generation, key_scope = NEW.key_scope, subject = NEW.subject, subject_key = NEW.subject_key
        WHERE id = OLD.id;
END;
-- +goose StatementEnd
-- +end

-- The part of an operation that changes.
--   state  1 queued, 2 planned, 3 waiting, 4 claimed, 5 sending, 6 received,
--          7 stored, 8 unknown, 20 attention, 30 done, 31 superseded
--   stage  0 nothing to claim
--          1 call: states 2 and 3
--          2 settle: states 6, 7 and 8, and ended ones with a late response
--          3 leased: states 4 and 5
--   lane   1 holds the lane of its shop: states 2 to 6 and 8
--          2 queued for the lane: state 1
--          3 open beside the lane: state 7
--          4 waits behind all that are queued
--          NULL in attention and when ended
CREATE TABLE operation (
    id           BIGINT PRIMARY KEY,        -- of the event that created it
    account      BIGINT NOT NULL,
    shop         BIGINT NOT NULL,
    kind         BIGINT NOT NULL, -- 1 invite, 2 activate
    state        BIGINT NOT NULL,
    stage        BIGINT NOT NULL,
    due_at       BIGINT,                    -- stages 1 and 2: when it can be claimed, or when the lease ends (leased); 3: end of the lease
    lane         BIGINT,
    lane_order   BIGINT NOT NULL,           -- place in the lane, by what began the run: for an event twice its id, for an
                                            -- operator action one more than that of the last event before it. The id does
                                            -- not give the order, because an ended operation can run again
    claim        BIGINT NOT NULL DEFAULT 0, -- increases with each claim: the fencing token
    leased       BIGINT NOT NULL DEFAULT 0, -- only in stage 2: due_at is the end of a lease
    replica      BIGINT NOT NULL DEFAULT 0, -- that claimed it last; 0 on SQLite
    owner        TEXT   NOT NULL DEFAULT '', -- that claimed it last
    run          BIGINT NOT NULL,
    event        BIGINT NOT NULL,           -- that began the run
    planned      BIGINT NOT NULL,           -- when the run began
    changed      BIGINT NOT NULL,           -- when the state changed last
    open_time    BIGINT NOT NULL DEFAULT 0, -- account.open_time, up to that moment, when the run began
    attempts     BIGINT NOT NULL DEFAULT 0, -- requests begun, over all runs
    last_attempt BIGINT,
    waits        BIGINT NOT NULL DEFAULT 0, -- consecutive waits since the run began
    doubt        BIGINT NOT NULL DEFAULT 0, -- some attempt may have been executed
    unknowns     BIGINT NOT NULL DEFAULT 0, -- attempts with an unknown outcome, over all runs
    receipt      BIGINT,                    -- attempt of the newest response of the run
    received     BIGINT NOT NULL DEFAULT 0, -- the run went through state 6
    late         BIGINT NOT NULL DEFAULT 0, -- a response came that the run did not continue with and that was not compared yet
    version      BIGINT,                    -- of the credential that the run stored
    stored_at    BIGINT,
    verified     BIGINT,                    -- when its credentials were found to work; receipts are erased some time later
    restored     BIGINT NOT NULL DEFAULT 0, -- the number of the last recovery that looked at it
    reason       TEXT   NOT NULL DEFAULT '',
    -- The check of a token that began when its response was saved; these columns have the same meaning as those of
    -- attempt. Other checks are rows of attempt.
    check_open    BIGINT NOT NULL DEFAULT 0, -- it has no end yet
    check_slack   BIGINT NOT NULL DEFAULT 0,
    check_ledgers TEXT   NOT NULL DEFAULT '',
    check_grain   BIGINT NOT NULL DEFAULT 0,
    check_from    BIGINT                     -- counts_from
) WITH (fillfactor = 70);
CREATE INDEX operation_due ON operation (account, kind, stage, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX operation_lane ON operation (shop, lane, kind, lane_order) WHERE lane IS NOT NULL;
CREATE INDEX operation_attention ON operation (shop, kind, reason) WHERE state = 20;
CREATE INDEX operation_doubt ON operation (shop, kind) WHERE doubt = 1;

-- Every request that may have been sent, except for the checks in operation. The rate
-- limits are counted from both. On
-- SQLite ids increase with the time of the start. A row also holds the response of an
-- activation, until its credentials work. Credentials that an operator entered are the
-- response of a row of their own, for which nothing was sent.
CREATE TABLE attempt (
    id          BIGINT PRIMARY KEY,
    account     BIGINT NOT NULL,
    operation   BIGINT,                    -- NULL for a check of a token
    number      BIGINT NOT NULL,           -- within the operation, from 1; 0 for a check, and for credentials that an operator entered
    flagged     BIGINT NOT NULL,           -- made in doubt
    probe       BIGINT NOT NULL DEFAULT 0, -- made after an unknown outcome, to find out about it
    replica     BIGINT NOT NULL DEFAULT 0, -- that made it; 0 on SQLite
    mac         BYTEA,                     -- of the address of an invitation, where the cool-down of addresses is on
    started     BIGINT NOT NULL,
    send_by     BIGINT NOT NULL,
    deadline    BIGINT NOT NULL,
    slack       BIGINT NOT NULL,           -- microseconds
    ledgers     TEXT   NOT NULL,           -- ledger ids: decimal numbers with a space between
    grain       BIGINT NOT NULL DEFAULT 1, -- counts_from is rounded up to its multiples; 1 on SQLite
    ended       BIGINT,                    -- when the response was complete or the connection closed
    counts_from BIGINT,                    -- the permits are available again one window later; NULL when nothing was sent
    answered    BIGINT NOT NULL DEFAULT 0,
    not_sent    BIGINT NOT NULL DEFAULT 0,
    slow        BIGINT NOT NULL DEFAULT 0, -- took, or may take, longer than an opening looks back by started
    status      BIGINT NOT NULL DEFAULT 0,
    outcome     TEXT   NOT NULL DEFAULT '',
    reason      TEXT   NOT NULL DEFAULT '', -- of the API client's set; empty where the response was not parsed when the attempt ended
    code        TEXT   NOT NULL DEFAULT '',
    request_id  TEXT   NOT NULL DEFAULT '',
    answer      BYTEA,                     -- the whole response, sealed
    answer_key  BIGINT,
    answer_at   BIGINT,                    -- when the response was saved
    sealed_for  TEXT   NOT NULL DEFAULT '' -- what the seal is bound to: "attempt/" and the attempt's id, or "intent/" and the intent's uuid
) WITH (fillfactor = 80);
CREATE INDEX attempt_operation ON attempt (operation) WHERE operation IS NOT NULL;
CREATE INDEX attempt_slow ON attempt (counts_from) WHERE slow = 1;
CREATE INDEX attempt_address ON attempt (account, mac, started) WHERE mac IS NOT NULL;
-- +only postgres
-- SQLite walks back by id.
CREATE INDEX attempt_started ON attempt (started);
-- +end

-- +only sqlite
-- The responses, for those who read or repair a file.
CREATE VIEW receipt AS SELECT id AS attempt, operation, answer_at AS at, answer, answer_key, sealed_for FROM attempt WHERE answer IS NOT NULL;
-- +goose StatementBegin
CREATE TRIGGER receipt_update INSTEAD OF UPDATE ON receipt BEGIN
    UPDATE attempt SET answer = NEW.answer, answer_key = NEW.answer_key, sealed_for = NEW.sealed_for WHERE id = OLD.attempt;
END;
-- +goose StatementEnd
-- +end

-- A rate limit: a sliding window of requests.
CREATE TABLE ledger (
    id    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  TEXT COLLATE "C" NOT NULL UNIQUE,
    kept  BIGINT NOT NULL DEFAULT 0, -- the longest window so far, older permits are of no use; 0 on SQLite
    taken BIGINT NOT NULL DEFAULT 0  -- how many permits were ever taken: whoever has counted before others took some counts again; 0 on SQLite
) WITH (fillfactor = 20);

CREATE TABLE credential (
    shop        BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    operation   BIGINT NOT NULL,
    created     BIGINT NOT NULL,
    reference   TEXT   NOT NULL,
    merchant_id TEXT   NOT NULL,
    secret      BYTEA,           -- sealed; NULL where another store holds it
    secret_key  BIGINT,
    proof       BYTEA,           -- keyed; stands beside the secret in another store; NULL where the journal holds it
    destroy_at  BIGINT,          -- when the secret is to be destroyed, or the end of a claim of that; NULL while it is in use, and once it is destroyed
    destroyed   BIGINT,          -- when the secret was destroyed
    PRIMARY KEY (shop, version)
); -- by key
CREATE INDEX credential_destroy ON credential (destroy_at) WHERE destroy_at IS NOT NULL;

-- Operator actions. Commands append them; a worker executes or rejects each once.
CREATE TABLE intent (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid        BYTEA  NOT NULL, -- made by the command
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    act         TEXT   NOT NULL,
    account     BIGINT NOT NULL,
    operation   BIGINT,          -- NULL for an action on the account or on a shop
    shop        BIGINT,          -- only for an action on a shop
    note        TEXT   NOT NULL, -- the operator's reason
    merchant_id TEXT   NOT NULL,
    token       BYTEA,           -- entered by the operator, sealed; NULL after the end
    token_key   BIGINT,
    state       BIGINT NOT NULL DEFAULT 1, -- 1 waiting, 2 performed, 3 refused
    result      TEXT   NOT NULL DEFAULT '',
    detail      TEXT   NOT NULL DEFAULT '',
    ended       BIGINT,
    mac         BYTEA            -- over the row
);
CREATE UNIQUE INDEX intent_uuid ON intent (uuid);
CREATE INDEX intent_waiting ON intent (id) WHERE state = 1;
CREATE INDEX intent_operation ON intent (operation) WHERE operation IS NOT NULL;
CREATE INDEX intent_account ON intent (account) WHERE operation IS NULL;
CREATE INDEX intent_shop ON intent (shop) WHERE shop IS NOT NULL;

-- Outgoing events as they are published, and where they were published last. An
-- event without published_at waits to be published, in the order of the ids.
-- outbox.id and outbox_pending.row are of one increasing series. On PostgreSQL a
-- transaction that adds rows to these tables holds a lock from the number to the
-- commit, so that rows become visible in the order of their numbers.
CREATE TABLE outbox (
    id            BIGINT PRIMARY KEY,
    shop          BIGINT,          -- NULL for a dead letter
    operation     BIGINT,
    sequence      BIGINT NOT NULL, -- of the shop; 0 for a dead letter
    created       BIGINT NOT NULL,
    event         BYTEA  NOT NULL, -- uuid
    type          TEXT   NOT NULL,
    key           BYTEA,
    value         BYTEA  NOT NULL,
    headers       BYTEA  NOT NULL, -- for each header: length and bytes of the name, length and bytes of the value;
                                   -- lengths are unsigned varints
    mac           BYTEA,           -- over the row up to headers
    published_at  BIGINT,
    part          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL, -- -1 while it waits, and where the broker did not report it
    again         BIGINT            -- outbox_pending.row by which it was published again last; no number is used twice
);
CREATE UNIQUE INDEX outbox_event ON outbox (shop, event) WHERE shop IS NOT NULL;
CREATE INDEX outbox_waiting ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_again ON outbox (again) WHERE again IS NOT NULL;

-- Events that were queued again, and wait to be published again.
CREATE TABLE outbox_pending (
    row    BIGINT PRIMARY KEY,
    outbox BIGINT NOT NULL,
    since  BIGINT NOT NULL
);
CREATE INDEX outbox_pending_event ON outbox_pending (outbox);

-- The end of each result partition according to published events that were
-- pruned. type is the contract's.
CREATE TABLE published_end (
    type        TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (type, part)
); -- by key

-- Published events that a restored journal did not know; kept during its
-- recovery.
CREATE TABLE announced (
    event          BYTEA PRIMARY KEY,          -- uuid
    outbox         BIGINT NOT NULL,
    operation_uuid BYTEA  NOT NULL,            -- that the event names; empty for a dead letter
    causation      TEXT COLLATE "C" NOT NULL,
    version        BIGINT NOT NULL,            -- of the credentials that the event names, else 0
    applied        BIGINT NOT NULL DEFAULT 0
); -- by key
CREATE INDEX announced_operation ON announced (operation_uuid);

-- Records that could not be read. account, shop and message_key are empty where
-- they could not be read.
CREATE TABLE dead_letter (
    id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic         BIGINT NOT NULL,
    part          BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    record_time   BIGINT,
    received      BIGINT NOT NULL,
    size          BIGINT NOT NULL,
    outbox        BIGINT NOT NULL, -- the event that reports it
    replayed      BIGINT,          -- when its record was taken again; it is not kept any more then
    replay_due    BIGINT,          -- when its record is to be taken again, because an operator asked for it
    replays       BIGINT NOT NULL DEFAULT 0, -- how often its record was taken again
    event_id      TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    place         TEXT   NOT NULL, -- in the record
    digest        BYTEA,           -- keyed
    record        BYTEA,           -- key, headers and value, sealed; NULL when too large
    record_key    BIGINT,
    account       TEXT COLLATE "C" NOT NULL DEFAULT '',
    shop          TEXT COLLATE "C" NOT NULL DEFAULT '',
    message_key   TEXT COLLATE "C" NOT NULL DEFAULT '' -- the record's key
);
CREATE INDEX dead_letter_shop ON dead_letter (shop, message_key);
CREATE INDEX dead_letter_kept ON dead_letter (id) WHERE record IS NOT NULL;
CREATE INDEX dead_letter_due ON dead_letter (replay_due) WHERE replay_due IS NOT NULL;

-- The keys that rows were written with, or may have been.
CREATE TABLE key_use (
    purpose BIGINT NOT NULL, -- 1 sealing, 2 look-up
    key     BIGINT NOT NULL,
    since   BIGINT NOT NULL,
    PRIMARY KEY (purpose, key)
); -- by key

-- Who did what. Append-only. The ids have no gaps, and each row's hash covers the row
-- and the hash of the row before it.
CREATE TABLE audit (
    id          BIGINT PRIMARY KEY,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    act         TEXT   NOT NULL,
    subject     TEXT   NOT NULL,
    detail_hash BYTEA,           -- salted, of the detail; NULL if there was none
    hash        BYTEA  NOT NULL
);

-- The texts of audit rows. They are not part of the row, and the hash covers their
-- salted digest only, so that they can be erased.
CREATE TABLE audit_detail (
    id     BIGINT PRIMARY KEY, -- of the audit row
    salt   BYTEA NOT NULL,
    detail TEXT  NOT NULL,
    shop   BIGINT              -- whose operation the audit row is about, else NULL
);

-- +only sqlite
-- +goose StatementBegin
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
-- +goose StatementEnd
-- +end

-- +only postgres
-- +goose StatementBegin
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit EXECUTE FUNCTION audit_append_only();

CREATE SEQUENCE event_id;
CREATE SEQUENCE attempt_id;
CREATE SEQUENCE outbox_row; -- of outbox.id and outbox_pending.row

-- How many requests of a ledger count from an instant on. Their permits are
-- available again one window later. The rows follow from the attempts.
CREATE TABLE permit (
    ledger      BIGINT NOT NULL,
    counts_from BIGINT NOT NULL,
    many        BIGINT NOT NULL,
    PRIMARY KEY (ledger, counts_from)
) WITH (fillfactor = 70);

-- The lease of the process that publishes: the only row. Acquiring it increases
-- the term, renewing it moves the end.
CREATE TABLE relay_lease (
    term    BIGINT PRIMARY KEY,
    expires BIGINT NOT NULL -- 0 after its release
) WITH (fillfactor = 10);
INSERT INTO relay_lease (term, expires) VALUES (0, 0);

-- The processes that use the journal. Each holds an advisory lock with its number
-- while its session lives.
CREATE TABLE replica (
    id    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since BIGINT NOT NULL,
    ready BOOLEAN NOT NULL -- it has ended the leases of the processes before it
);

-- The last commit of each process, written with every commit. A process that
-- finds less than was acknowledged to it knows that commits were lost. A row
-- stays for some time after its process ended.
CREATE TABLE pulse (
    process     BYTEA  PRIMARY KEY, -- made when the process opened the journal
    replica     BIGINT NOT NULL,    -- its present number
    n           BIGINT NOT NULL,    -- commits, including those without an acknowledgement
    at          BIGINT NOT NULL,    -- of the last commit
    synchronous BIGINT NOT NULL,    -- the server reported then that a standby has the commit too
    ended       BIGINT,             -- when it closed the journal, or was found dead, with all of its commits present
    missing     BIGINT NOT NULL DEFAULT 0 -- 1: it has not yet confirmed its commits since another server took over
) WITH (fillfactor = 20);
-- +end
