-- Which record batch a position lies behind or in: an offset does not identify
-- the records before it. NULL when unknown.

-- +goose Up

ALTER TABLE position ADD COLUMN batch_last INTEGER;
ALTER TABLE position ADD COLUMN batch_epoch INTEGER;
ALTER TABLE position ADD COLUMN batch_crc INTEGER;
