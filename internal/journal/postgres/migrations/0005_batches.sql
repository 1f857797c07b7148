-- Which record batch a position lies behind or in: an offset does not identify
-- the records before it. NULL when unknown.

-- +goose Up

ALTER TABLE position
    ADD COLUMN batch_last  BIGINT,
    ADD COLUMN batch_epoch BIGINT,
    ADD COLUMN batch_crc   BIGINT;

INSERT INTO schema_version (version, readable_by) VALUES (5, 4);
