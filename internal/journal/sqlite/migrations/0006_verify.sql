-- What is needed to look at the current credentials of active shops again.

-- +goose Up

-- One row for each active shop, about its current credentials.
CREATE TABLE review (
    shop      INTEGER PRIMARY KEY, -- shop.id
    account   INTEGER NOT NULL,
    version   INTEGER NOT NULL,    -- of the credentials
    operation INTEGER NOT NULL,    -- that brought them
    state     INTEGER NOT NULL,    -- 1 pending, 2 verified, 3 invalid
    routine   INTEGER NOT NULL,    -- nothing is open: the next look is of the schedule
    due_at    INTEGER NOT NULL,    -- of the next look, or the end of a claim
    claim     INTEGER NOT NULL DEFAULT 0, -- rises with every claim and with newer credentials: the fence
    refused   INTEGER,             -- since when they are refused
    tries     INTEGER NOT NULL DEFAULT 0, -- looks since they were last accepted
    told      INTEGER NOT NULL DEFAULT 0  -- events about them
) STRICT;
CREATE INDEX review_due ON review (account, routine, due_at);
-- Few are, and only for minutes unless something is wrong.
CREATE INDEX review_refused ON review (refused) WHERE refused IS NOT NULL;

-- Different shops whose credentials were refused in a row, since any were
-- accepted.
ALTER TABLE account ADD COLUMN refused_in_row INTEGER NOT NULL DEFAULT 0;

-- Those that are active already: the pending ones now, the others within a day.
INSERT INTO review (shop, account, version, operation, state, routine, due_at)
SELECT s.id, s.account, s.active_version, s.active_operation,
    iif(o.verified IS NULL, 1, 2), o.verified IS NOT NULL,
    (unixepoch() + iif(o.verified IS NULL, 0, abs(random() % 86400))) * 1000000
FROM shop s JOIN operation o ON o.id = s.active_operation WHERE s.active_version IS NOT NULL;
