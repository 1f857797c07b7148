-- What is needed to refuse values that were moved or edited, and a keyset that
-- lacks a key. Table meta has: origin, the identity with which the journal began,
-- which a recovery does not change and which seals name (16 bytes); absent where
-- no recovery has changed the identity.

-- +goose Up

-- The request ("attempt/" and its id) or the act of a person ("intent/" and its
-- uuid) that the answer is sealed for.
ALTER TABLE receipt ADD COLUMN sealed_for TEXT NOT NULL DEFAULT '';
-- MACs over the rows; each begins with the id of its key.
ALTER TABLE outbox ADD COLUMN mac BLOB;
ALTER TABLE intent ADD COLUMN mac BLOB;

-- The keys that rows were, or may have been, written with.
CREATE TABLE key_use (
    purpose INTEGER NOT NULL, -- 1 sealing, 2 look-up
    key     INTEGER NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (purpose, key)
) STRICT, WITHOUT ROWID;
