-- What is needed for acts of people, and for the order in which runs begin.

-- +goose Up

-- What people ask for, beside the worker; it performs or refuses each once.
-- Ids are made by the database: several processes write them.
CREATE TABLE intent (
    id          INTEGER PRIMARY KEY,
    uuid        BLOB    NOT NULL, -- made by who asks
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    act         TEXT    NOT NULL,
    account     INTEGER NOT NULL,
    operation   INTEGER,          -- NULL for an act on the account
    note        TEXT    NOT NULL, -- why, in the person's words
    merchant_id TEXT    NOT NULL,
    token       BLOB,             -- entered by hand, sealed; NULL once it has ended
    token_key   INTEGER,
    state       INTEGER NOT NULL DEFAULT 1, -- 1 waiting, 2 performed, 3 refused
    result      TEXT    NOT NULL DEFAULT '',
    detail      TEXT    NOT NULL DEFAULT '',
    ended       INTEGER
) STRICT;
CREATE UNIQUE INDEX intent_uuid ON intent (uuid);
CREATE INDEX intent_waiting ON intent (id) WHERE state = 1;
CREATE INDEX intent_operation ON intent (operation) WHERE operation IS NOT NULL;
CREATE INDEX intent_account ON intent (account) WHERE operation IS NULL;

-- An operation's place in its shop's lane: what began its run, in order. Of an
-- event it is twice the event's id; of an act of a person one more than that of
-- the last event taken before it. Ids of operations do not say it: an ended one
-- may run again.
ALTER TABLE operation ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
UPDATE operation SET turn = 2 * event;
DROP INDEX operation_lane;
CREATE INDEX operation_lane ON operation (shop, lane, kind, turn) WHERE lane IS NOT NULL;
