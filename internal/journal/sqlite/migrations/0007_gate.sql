-- What is needed to leave the time for which an account was closed out of the
-- age of its operations.

-- +goose Up

-- For how many microseconds the gate was not open, up to closed_since.
ALTER TABLE account ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;
-- Since when it is not open now; NULL while it is.
ALTER TABLE account ADD COLUMN closed_since INTEGER;
UPDATE account SET closed_since = gate_since WHERE gate <> 1;

-- What account.closed was, up to that moment, when the run began.
ALTER TABLE operation ADD COLUMN closed INTEGER NOT NULL DEFAULT 0;

-- What is open is counted by it alone.
CREATE INDEX operation_open ON operation (account, kind, state) WHERE lane IS NOT NULL;
