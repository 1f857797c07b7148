-- What is needed to ask once, and only once, what became of a request.

-- +goose Up

-- Attempts of which nobody knows whether they were executed, over all runs.
ALTER TABLE operation ADD COLUMN unknowns INTEGER NOT NULL DEFAULT 0;
UPDATE operation SET unknowns = 1 WHERE state = 8 OR state = 20 AND reason = 'outcome_unknown';
-- Few operations ever are: it costs the others nothing.
CREATE INDEX operation_unknowns ON operation (shop, kind) WHERE unknowns > 0;

-- Made after an unknown outcome, to learn of it.
ALTER TABLE attempt ADD COLUMN probe INTEGER NOT NULL DEFAULT 0;

-- operation.lane has one more place: 4 for an operation that stepped behind all
-- that is queued.
