-- What is needed to refuse values that were moved or edited, and a keyset that
-- lacks a key. Table meta has: origin, the identity with which the journal began,
-- which a recovery does not change and which seals name (16 bytes); absent where
-- no recovery has changed the identity.

-- +goose Up

-- Older programs cannot open what is sealed from here on.
LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE;

-- The request ("attempt/" and its id) or the act of a person ("intent/" and its
-- uuid) that the answer is sealed for.
ALTER TABLE receipt ADD COLUMN sealed_for TEXT COLLATE "C" NOT NULL DEFAULT '';
-- MACs over the rows; each begins with the id of its key.
ALTER TABLE outbox ADD COLUMN mac BYTEA;
ALTER TABLE intent ADD COLUMN mac BYTEA;

-- The keys that rows were, or may have been, written with.
CREATE TABLE key_use (
    purpose BIGINT NOT NULL, -- 1 sealing, 2 look-up
    key     BIGINT NOT NULL,
    since   BIGINT NOT NULL,
    PRIMARY KEY (purpose, key)
);

INSERT INTO schema_version (version, readable_by) VALUES (4, 4);
