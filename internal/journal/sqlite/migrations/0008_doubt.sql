-- What is needed to end older operations in doubt when a newer one succeeds: all
-- of them, also those of which no outcome was ever unknown.

-- +goose Up

UPDATE operation SET doubt = 1 WHERE unknowns > 0 AND doubt = 0;
DROP INDEX operation_unknowns;
CREATE INDEX operation_doubt ON operation (shop, kind) WHERE doubt = 1;
