-- What is needed to tell a copy from the journal, and to go on after a restore.
-- table meta has: copied (when this copy was made), recovering (that a recovery
-- was begun, when, and the last event before it), recoveries (how many there
-- were), history (before it nothing is known of what was sent), place (which
-- file the journal was in); all but place are decimal texts.

-- +goose Up

-- The number of the recovery that looked at it last.
ALTER TABLE operation ADD COLUMN restored INTEGER NOT NULL DEFAULT 0;

-- Published events that a restored journal did not know; kept while it is
-- being recovered.
CREATE TABLE announced (
    event     BLOB PRIMARY KEY, -- uuid
    outbox    INTEGER NOT NULL, -- outbox.id
    operation BLOB    NOT NULL, -- uuid that the event names; empty for a dead letter
    causation TEXT    NOT NULL,
    version   INTEGER NOT NULL, -- of the credentials that it names, else 0
    applied   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX announced_operation ON announced (operation);
