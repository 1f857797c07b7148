-- What is needed to forget. table meta has: pruning (the time by which ages are
-- counted), a decimal text.

-- +goose Up

-- What the published events that were forgotten said of where the result topics
-- end. type is the contract's.
CREATE TABLE published_end (
    type        TEXT    NOT NULL,
    part        INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (type, part)
) STRICT, WITHOUT ROWID;

-- Few wait to be published again: it costs the others nothing.
CREATE INDEX outbox_pending_again ON outbox_pending (outbox) WHERE row <> outbox;
