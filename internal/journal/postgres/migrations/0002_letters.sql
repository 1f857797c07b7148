-- Whose dead letters are, and how many keep their record.

-- +goose Up

-- As far as they could be read, else empty. message_key is the record's.
ALTER TABLE dead_letter
    ADD COLUMN account     TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN shop        TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN message_key TEXT COLLATE "C" NOT NULL DEFAULT '';

CREATE INDEX dead_letter_shop ON dead_letter (shop, message_key);
CREATE INDEX dead_letter_kept ON dead_letter (id) WHERE record IS NOT NULL;

INSERT INTO schema_version (version, readable_by) VALUES (2, 1);
