-- Why a request ended as it did.

-- +goose Up

-- One of the closed set of the API client's reasons; empty where the answer was
-- not parsed when the attempt ended, and for attempts of older versions.
ALTER TABLE attempt ADD COLUMN reason TEXT NOT NULL DEFAULT '';

INSERT INTO schema_version (version, readable_by) VALUES (3, 1);
