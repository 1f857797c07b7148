-- Which address an invitation was sent to, where the cool-down of addresses is on:
-- the look-up MAC of its operation. NULL otherwise.

-- +goose Up

ALTER TABLE attempt ADD COLUMN mac BYTEA;
CREATE INDEX attempt_address ON attempt (account, mac, started) WHERE mac IS NOT NULL;

INSERT INTO schema_version (version, readable_by) VALUES (6, 4);
